/** Random weights to begin with: each parameter as its layer says, the same for a seed and name. */

import { drawn, type Parameter } from "../../nn/index.ts";
import { size } from "../../tensor/shape.ts";
import type { StoredTensor, TensorStore } from "../../tensor/stored.ts";

/** A store of random weights for `parameters`, drawn when they are read. */
export function freshStore(parameters: ReadonlyMap<string, Parameter>, seed: number): TensorStore {
  const stored = ({ value }: Parameter): StoredTensor => ({
    dtype: "float32",
    shape: value.shape,
    file: null,
    offset: 0,
    byteLength: 4 * size(value.shape),
  });
  return {
    tensors: new Map([...parameters].map(([name, parameter]) => [name, stored(parameter)])),
    read: async (name) => drawn(parameters.get(name) as Parameter, seed, `weights ${name}`),
  };
}
