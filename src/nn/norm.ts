/**
 * Normalizations, most with a learned scale and offset. Source: PyTorch `nn.GroupNorm` and `nn.LayerNorm`;
 * Zhang and Sennrich 2019, arXiv:1910.07467 (RMS norm).
 */

import { labelled, type Value } from "../graph/op.ts";
import {
  add,
  constant,
  mean,
  mul,
  groupNorm as normalizeGroups,
  layerNorm as normalizeLast,
  reciprocal,
  sqrt,
  square,
} from "../ops/index.ts";
import { ones, type Scope, zeros } from "./scope.ts";

/** Over each of `groups` groups of channels: `x` [N, C, ..] → the same shape. Parameters `weight` [C], `bias` [C]. */
export function groupNorm(s: Scope, x: Value, o: { readonly groups: number; readonly eps: number }): Value {
  return labelled(s.path, () => {
    const channels = x.shape[1]!;
    const weight = s.param("weight", [channels], ones);
    return normalizeGroups(x, weight, s.param("bias", [channels], zeros), { groups: o.groups, eps: o.eps });
  });
}

/** Over the last axis: `x` [.., E] → the same shape. Parameters `weight` [E], `bias` [E]. */
export function layerNorm(s: Scope, x: Value, eps: number): Value {
  return labelled(s.path, () => {
    const width = x.shape.at(-1)!;
    return normalizeLast(x, s.param("weight", [width], ones), s.param("bias", [width], zeros), { eps });
  });
}

/** Over the last axis, without parameters: `x` [.., E] → the same shape, of mean 0 and variance 1. */
export function bareLayerNorm(x: Value, eps: number): Value {
  const width = x.shape.at(-1)!;
  return normalizeLast(x, constant([width], [1]), constant([width], [0]), { eps });
}

/** Over the last axis, keeping the mean: x / √(mean x² + eps) · weight. `x` [.., E] → the same shape. Parameter `weight` [E]. */
export function rmsNorm(s: Scope, x: Value, eps: number): Value {
  return labelled(s.path, () => {
    const inverse = reciprocal(sqrt(add(mean(square(x), [x.shape.length - 1], { keep: true }), eps)));
    return mul(mul(x, inverse), s.param("weight", [x.shape.at(-1)!], ones));
  });
}
