/** Gradients against PyTorch in float64, for every parameter: see test/golden/README.md. The curves are in test/slow. */

import { describe, expect, it } from "vitest";
import { openvinoEngine, openvinoStatus } from "../src/node/openvino.ts";
import type { Engine } from "../src/runtime/session.ts";
import { type Tensor, toFloat32 } from "../src/tensor/tensor.ts";
import { layOut, makeArena } from "../src/train/arena.ts";
import { gradientProgram } from "../src/train/step.ts";
import { fill } from "./fill.ts";
import {
  engine,
  filledStore,
  golden,
  projections,
  rootMeanSquare,
  textTask,
  unetTask,
  vaeTask,
} from "./training-tasks.ts";

const { isAvailable } = await openvinoStatus();
const openvino = isAvailable ? await openvinoEngine() : null;
const ways = [
  { engine, precision: "f32" as const },
  ...(openvino?.precisions ?? []).map((precision) => ({ engine: openvino as Engine, precision })),
];
/** How far a gradient may be off: by its own norm and by that of all together. bf16 has 8 bits, so some are mostly noise. */
const bounds = {
  f32: { loss: 1e-5, own: 1e-4, ofAll: 1e-6, all: 1e-4 },
  bf16: { loss: 0.02, own: 1, ofAll: 0.02, all: 0.2 },
};

describe.each([
  ["unet", unetTask, []],
  ["unet in five segments", unetTask, ["down_blocks.0", "down_blocks.1", "down_blocks.2", "up_blocks.0"]],
  ["vae", vaeTask, []],
  ["text", textTask, []],
] as const)("the gradients of %s", (name, task, cuts) => {
  it.each(
    ways,
  )("by $engine.name in $precision are PyTorch's in float64, for every parameter", async (way) => {
    const { objective, weights, batch } = task();
    const bound = bounds[way.precision];
    const expected = golden.gradients[name.split(" ")[0] as string];
    expect([...weights.keys()].sort()).toEqual(Object.keys(expected.parameters).sort());

    const layout = layOut([...weights].map(([key, { shape }]) => [key, shape] as const));
    const [values, gradients] = [makeArena(layout), makeArena(layout)];
    for (const [key, t] of values.tensors) toFloat32(t).set(fill(key, t.shape));
    const program = gradientProgram(objective, weights, {
      engine: way.engine,
      precision: way.precision,
      store: filledStore(new Map()),
      threads: 1,
      cuts,
    });
    const terms = await program.run(batch(0), values.tensors, gradients.tensors);
    await program.dispose();

    const factors = objective.factors ?? {};
    const loss = Object.entries(terms).reduce((sum, [key, x]) => sum + (factors[key] ?? 1) * x, 0);
    expect(Math.abs(loss - expected.loss)).toBeLessThan(bound.loss * Math.abs(expected.loss));
    const rows = Object.entries<readonly number[]>(expected.parameters);
    const all = Math.hypot(...rows.map(([, row]) => row[0] as number));
    const errors: number[] = [];
    for (const [key, [norm, ...wanted]] of rows) {
      const got = projections(key, gradients.tensors.get(key) as Tensor);
      const error = rootMeanSquare(got.map((x, k) => x - (wanted[k] as number)));
      expect(error, key).toBeLessThan(bound.own * (norm as number) + bound.ofAll * all);
      errors.push(error);
    }
    expect(Math.hypot(...errors)).toBeLessThan(bound.all * all);
  });
});
