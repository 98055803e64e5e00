/** Learned embeddings: of noise levels and other features, and of tokens. */

import { labelled, type Value } from "../graph/op.ts";
import { add, gather, silu } from "../ops/index.ts";
import { linear } from "./linear.ts";
import { normal, type Scope } from "./scope.ts";

/**
 * Two linear layers around a SiLU: `features` [N, F] → [N, `out`]. diffusers' `TimestepEmbedding`.
 * `condition` [N, G], where the checkpoint has a `cond_proj`, is projected and added to the features first.
 */
export function featureEmbedding(
  s: Scope,
  features: Value,
  out: number,
  condition: Value | null = null,
): Value {
  return labelled(s.path, () => {
    const width = features.shape[1]!;
    const x =
      condition === null
        ? features
        : add(features, linear(s.at("cond_proj"), condition, width, { bias: false }));
    return linear(s.at("linear_2"), silu(linear(s.at("linear_1"), x, out)), out);
  });
}

/** Rows of a table: `ids` int64 [..] → [.., `width`]. Parameter `weight` [`entries`, width], drawn with deviation `std`. */
export function embedding(
  s: Scope,
  ids: Value,
  o: { readonly entries: number; readonly width: number; readonly std: number },
): Value {
  return labelled(s.path, () => gather(s.param("weight", [o.entries, o.width], normal(o.std)), ids));
}
