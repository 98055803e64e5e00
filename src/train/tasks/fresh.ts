/** Random weights to begin with: each parameter as its layer says, the same for a seed and name. */

import type { Parameter } from "../../nn/index.ts";
import { fastGenerator } from "../../tensor/random.ts";
import { size } from "../../tensor/shape.ts";
import type { StoredTensor, TensorStore } from "../../tensor/stored.ts";
import { float32, type Tensor } from "../../tensor/tensor.ts";

function drawn({ name, value, init }: Parameter, seed: number): Tensor {
  const values = new Float32Array(size(value.shape));
  const random = fastGenerator(seed, `weights ${name}`);
  switch (init.kind) {
    case "constant":
      values.fill(init.value);
      break;
    case "uniform":
      random.uniform(values, -init.bound, init.bound);
      break;
    case "normal":
      random.normal(values, init.std);
      break;
  }
  return float32(value.shape, values);
}

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
    read: async (name) => drawn(parameters.get(name) as Parameter, seed),
  };
}
