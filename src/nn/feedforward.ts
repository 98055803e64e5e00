/**
 * The feed-forward layers of transformer blocks, with the names of diffusers' `FeedForward`.
 * Source: Shazeer 2020, arXiv:2002.05202 (GEGLU); Vaswani et al. 2017, arXiv:1706.03762, section 3.3.
 */

import { labelled, type Value } from "../graph/op.ts";
import { gelu, mul, split, tap } from "../ops/index.ts";
import { linear } from "./linear.ts";
import type { Scope } from "./scope.ts";

/** Inner width in units of the outer: diffusers' `FeedForward(mult=4)`. */
const EXPANSION = 4;

/** `x` [N, S, E] → [N, S, E]; the first half of the projection is gated by the GELU of the second. Taps the result. */
export function feedForward(s: Scope, x: Value): Value {
  return labelled(s.path, () => {
    const width = x.shape.at(-1)!;
    const both = linear(s.at("net", 0, "proj"), x, 2 * EXPANSION * width); // [N, S, 8·E]
    const [value, gate] = split(both, 2, -1) as [Value, Value]; // [N, S, 4·E] each
    const gated = mul(value, gelu(gate, { approximate: "none" }));
    return tap(s.path, linear(s.at("net", 2), gated, width)); // [N, S, E]
  });
}

/** `x` [N, S, E] → [N, S, E] without a gate: two linear layers around GELU in its tanh form. Taps the result. */
export function plainFeedForward(s: Scope, x: Value): Value {
  return labelled(s.path, () => {
    const width = x.shape.at(-1)!;
    const wide = gelu(linear(s.at("net", 0, "proj"), x, EXPANSION * width), { approximate: "tanh" }); // [N, S, 4·E]
    return tap(s.path, linear(s.at("net", 2), wide, width));
  });
}
