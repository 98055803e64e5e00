/**
 * Multi-head attention with diffusers' names (`Attention`): `to_q`, `to_k`, `to_v`, `to_out.0`.
 * Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.
 */

import { labelled, type Value } from "../graph/op.ts";
import { add, attention as attend, reshape, tap, transpose } from "../ops/index.ts";
import { linear } from "./linear.ts";
import { groupNorm } from "./norm.ts";
import type { Scope } from "./scope.ts";

export interface AttentionOptions {
  readonly heads: number;
  /** Whether queries, keys and values have biases; the output always has. Default false. */
  readonly bias?: boolean;
  /** Added to the scores: [N or 1, heads or 1, S, T]. */
  readonly mask?: Value | null;
}

/**
 * `x` [N, S, E] asks `context` [N, T, F] → [N, S, E].
 * Taps: `to_q` [N, S, E] and `to_k` [N, T, E] (their product is the attention map), and the result.
 */
export function attention(s: Scope, x: Value, context: Value, o: AttentionOptions): Value {
  return labelled(s.path, () => {
    const width = x.shape.at(-1)!;
    const project = (name: string, from: Value) => linear(s.at(name), from, width, { bias: o.bias ?? false });
    const q = tap(`${s.path}.to_q`, project("to_q", x));
    const k = tap(`${s.path}.to_k`, project("to_k", context));
    const v = project("to_v", context);
    const mixed = attend(q, k, v, { heads: o.heads, mask: o.mask ?? null });
    return tap(s.path, linear(s.at("to_out", 0), mixed, width));
  });
}

/** One-headed self-attention over the cells of a picture, with its residual: `x` [N, C, H, W] → the same shape. */
export function spatialAttention(
  s: Scope,
  x: Value,
  o: { readonly groups: number; readonly eps: number },
): Value {
  return labelled(s.path, () => {
    const [n, c, h, w] = x.shape as [number, number, number, number];
    const cells = transpose(reshape(groupNorm(s.at("group_norm"), x, o), [n, c, h * w]), [0, 2, 1]); // [N, H·W, C]
    const mixed = attention(s, cells, cells, { heads: 1, bias: true });
    return add(x, reshape(transpose(mixed, [0, 2, 1]), [n, c, h, w])); // [N, C, H, W]
  });
}
