/** Random weights to begin with. */

import { fastGenerator } from "../tensor/random.ts";
import { size } from "../tensor/shape.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";
import type { Parameter } from "./scope.ts";

/**
 * A parameter as its layer says that it begins. The same for a seed and stream, whatever else is drawn: `stream` has the parameter's
 * name in it, and that of its network where there are several.
 */
export function drawn({ value, init }: Parameter, seed: number, stream: string): Tensor {
  const values = new Float32Array(size(value.shape));
  const random = fastGenerator(seed, stream);
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
