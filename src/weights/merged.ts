/** Low-rank additions summed into the weights that they are of: where weights become integers, nothing can be added later. */

import { check } from "../core/assert.ts";
import { dtypes } from "../tensor/dtype.ts";
import { show, size } from "../tensor/shape.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import { castFloat, float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";

/** W + scale · up · down: `up` [O, R, ..], `down` [R, I, ..], of ones where they have more axes; `weight` [O, I, ..]. */
export function plusLowRank(weight: Tensor, up: Tensor, down: Tensor, scale = 1): Tensor {
  const [rank = 0] = down.shape;
  const [outputs = 0] = up.shape;
  const out = toFloat32(castFloat(weight, "float32")).slice();
  const [b, a] = [toFloat32(up), toFloat32(down)];
  const columns = a.length / rank;
  for (let o = 0; o < outputs; o++)
    for (let r = 0; r < rank; r++) {
      const factor = scale * (b[o * rank + r] ?? 0);
      if (factor === 0) continue;
      for (let i = 0; i < columns; i++)
        out[o * columns + i] = (out[o * columns + i] ?? 0) + factor * (a[r * columns + i] ?? 0);
    }
  return float32(weight.shape, out);
}

/**
 * `store` without adapters: each weight that has some is their sum, in float32, made when it is read.
 * Reading throws E_SHAPE where an adapter is of another layer.
 */
export function mergedStore(store: TensorStore): TensorStore {
  const { adapters, ...rest } = store;
  if (adapters === undefined || adapters.size === 0) return store;
  const additions = new Set([...adapters.values()].flat().flatMap(({ down, up }) => [down, up]));
  const tensors = new Map<string, StoredTensor>();
  for (const [name, stored] of store.tensors) {
    if (additions.has(name)) continue;
    const byteLength = size(stored.shape) * dtypes.float32.bytes;
    const sum = { ...stored, dtype: "float32", file: null, offset: 0, byteLength } as const;
    tensors.set(name, adapters.has(name) ? sum : stored);
  }
  return {
    ...rest,
    tensors,
    async read(name) {
      let weight = await store.read(name);
      for (const { down, up, scale } of adapters.get(name) ?? []) {
        const pair = [await store.read(down), await store.read(up)] as const;
        checkFits(name, weight, ...pair);
        weight = plusLowRank(weight, pair[1], pair[0], scale);
      }
      return weight;
    },
  };
}

/** As the graph refuses it. @throws KoalaError E_SHAPE */
function checkFits(name: string, { shape }: Tensor, down: Tensor, up: Tensor): void {
  const [outputs = 0, ...inputs] = shape;
  const [rank = 0] = down.shape;
  const fits =
    size(down.shape) === rank * size(inputs) && size(up.shape) === outputs * rank && up.shape[1] === rank;
  check(fits, "E_SHAPE", () => ({
    where: name,
    expected: `an adapter of a weight ${show(shape)}`,
    got: `down ${show(down.shape)}, up ${show(up.shape)}`,
  }));
}
