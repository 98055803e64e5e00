/** Normalizations with their learned scale and offset. Source: PyTorch `nn.GroupNorm` and `nn.LayerNorm`. */

import { labelled, type Value } from "../graph/op.ts";
import { groupNorm as normalizeGroups, layerNorm as normalizeLast } from "../ops/index.ts";
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
