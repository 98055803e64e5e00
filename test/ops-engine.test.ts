/** Every op on every engine of this machine against the float64 reference, forward and gradient. */

import { describe, expect, it } from "vitest";
import { grad } from "../src/autodiff/grad.ts";
import { compile } from "../src/engine/compile.ts";
import { interpret } from "../src/graph/interpret.ts";
import type { NdArray, Target, Value } from "../src/graph/op.ts";
import { webgpuEngine, webgpuStatus } from "../src/node/ort-node.ts";
import * as ops from "../src/ops/index.ts";
import { host } from "../src/runtime/host.ts";
import type { Engine } from "../src/runtime/session.ts";
import type { TensorStore } from "../src/tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../src/tensor/tensor.ts";
import { draw, generator, type OpCase, opCases } from "./op-cases.ts";

/** Largest difference of float32 kernels from float64, relative to the largest element, unless a case says its own. */
const tolerance = 2e-6;
/** WGSL promises sine and cosine to 2^-11 in [−π, π] (its section 15.7.4.1): no network here uses them in its graph. */
const looserOn: Partial<Record<Target, Readonly<Record<string, number>>>> = {
  "ort-webgpu": { sin: 2 ** -11, cos: 2 ** -11 },
};
/** Gradients sum products of several kernels' results. */
const gradientFactor = 10;

const noWeights: TensorStore = {
  tensors: new Map(),
  read: (name) => Promise.reject(new Error(`no weight ${name}`)),
};

const ort = await host.engine("ort");
/** The kernels of each lowering that ONNX Runtime's CPU can run: its own fused ones, and the standard's alone. */
const { isAvailable: hasWebgpu } = await webgpuStatus();
const engines: readonly [Target, Engine][] = [
  ["ort-cpu", ort],
  ["portable", { name: "ort", target: "portable", load: (model, o) => ort.load(model, o) }],
  ...(hasWebgpu ? [["ort-webgpu", webgpuEngine()] as [Target, Engine]] : []),
];

/** The case and the gradients of a random projection of it, as graph and as float64 values. */
function instance(c: OpCase): {
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

function relativeError(got: Float32Array, expected: Float64Array): number {
  const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3);
  return expected.reduce((most, x, i) => Math.max(most, Math.abs(x - (got[i] ?? Number.NaN))), 0) / scale;
}

describe.each(engines)("%s", (target, engine) => {
  it.each(Object.entries(opCases))("%s is its reference", async (name, cases) => {
    for (const c of cases) {
      const { feeds, outputs, expected } = instance(c);
      const program = await compile(outputs, { engine, store: noWeights, threads: 1 });
      const used = Object.fromEntries(
        Object.keys(program.inputs).map((name) => [name, feeds[name] as Tensor]),
      );
      const results = await program.run(used);
      await program.dispose();
      for (const [i, { data, shape }] of expected.entries()) {
        const result = results[`y${i}`] as Tensor;
        expect(result.shape).toEqual(shape);
        const bound = (looserOn[target]?.[name] ?? c.tolerance ?? tolerance) * (i === 0 ? 1 : gradientFactor);
        expect(relativeError(toFloat32(result), data), i === 0 ? "value" : `gradient ${i - 1}`).toBeLessThan(
          bound,
        );
      }
    }
  });
});
