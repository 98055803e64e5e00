/** A case of the op table as an engine gets it: graph, feeds, and what the float64 reference makes of them. */

import { grad } from "../src/autodiff/grad.ts";
import { interpret } from "../src/graph/interpret.ts";
import type { NdArray, Target, Value } from "../src/graph/op.ts";
import * as ops from "../src/ops/index.ts";
import type { TensorStore } from "../src/tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../src/tensor/tensor.ts";
import { draw, generator, type OpCase } from "./op-cases.ts";

/** WGSL promises sine and cosine to 2^-11 in [−π, π] (its section 15.7.4.1): no network here uses them in its graph. */
export const looserOn: Partial<Record<Target, Readonly<Record<string, number>>>> = {
  "ort-webgpu": { sin: 2 ** -11, cos: 2 ** -11 },
};
export const noWeights: TensorStore = {
  tensors: new Map(),
  read: (name) => Promise.reject(new Error(`no weight ${name}`)),
};

/** The case and the gradients of a random projection of it, as graph and as float64 values. */
export function instance(c: OpCase): {
  feeds: Record<string, Tensor>;
  outputs: Record<string, Value>;
  expected: NdArray[];
} {
  const random = generator(7);
  const inputs = c.inputs.map((shape, i) => ops.input(`x${i}`, { shape }));
  const out = c.build(...inputs);
  const weights = ops.constant(out.shape, draw(out.shape, undefined, random));
  const loss = ops.sum(
    ops.mul(out, weights),
    out.shape.map((_, axis) => axis),
  );
  const values = [out, ...grad(loss, inputs)];
  // what the engine sees is rounded to float32, so the reference sees the same
  const data = c.inputs.map((shape) => float32(shape, Float32Array.from(draw(shape, c.from, random))));
  const leaves = new Map(
    data.map((t, i) => [`x${i}`, { shape: t.shape, data: Float64Array.from(toFloat32(t)) }] as const),
  );
  return {
    feeds: Object.fromEntries(data.map((t, i) => [`x${i}`, t])),
    outputs: Object.fromEntries(values.map((value, i) => [`y${i}`, value])),
    expected: interpret(values, leaves),
  };
}

export function relativeError(got: Float32Array, expected: Float64Array): number {
  const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3);
  return expected.reduce((most, x, i) => Math.max(most, Math.abs(x - (got[i] ?? Number.NaN))), 0) / scale;
}
