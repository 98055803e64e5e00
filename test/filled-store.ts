/** Weights of a built model by the rule of fill.ts, made when they are read. */

import type { Built } from "../src/models/built.ts";
import type { TensorStore } from "../src/tensor/stored.ts";
import { float32 } from "../src/tensor/tensor.ts";
import { fill } from "./fill.ts";

export function filledStore({ parameters }: Built): TensorStore {
  const shapes = new Map([...parameters].map(([name, { value }]) => [name, value.shape]));
  const entry = (shape: readonly number[]) => {
    const byteLength = 4 * shape.reduce((a, b) => a * b, 1);
    return { dtype: "float32" as const, shape, file: null, offset: 0, byteLength };
  };
  return {
    tensors: new Map([...shapes].map(([name, shape]) => [name, entry(shape)])),
    read: async (name) => float32(shapes.get(name) ?? [], fill(name, shapes.get(name) ?? [])),
  };
}
