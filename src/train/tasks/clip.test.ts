/** CLIP's loss against PyTorch: test/golden/clip.json, made by scripts/oracle/g_clip.py; and what batches are. */

import { describe, expect, it } from "vitest";
import { fill } from "../../../test/fill.ts";
import { goldenJson } from "../../../test/golden.ts";
import { engine, filledStore, projections, rootMeanSquare } from "../../../test/training-tasks.ts";
import { clipConfig } from "../../models/clip.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { layOut, makeArena } from "../arena.ts";
import type { Batch as Loaded } from "../data/loader.ts";
import { noStore } from "../flat.ts";
import { adamW } from "../optim/adam.ts";
import { gradientProgram } from "../step.ts";
import { createTrainer, type Trainer } from "../trainer.ts";
import { clipTask, matches, pairFeeds } from "./clip.ts";

const golden = goldenJson("clip.json");
const { settings } = golden;
const config = clipConfig(golden.config);
const count = settings.inputIds[0].length;

const norm = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.25] };

/** Pictures as the golden's tower is fed, before what `normalised` does. */
function picture(index: number): Tensor {
  const shape = [count, 3, 16, 16];
  const values = fill(`input.picture.${index}`, shape).map((x, i) => {
    const c = Math.floor(i / 256) % 3;
    return 2 * (x * (norm.std[c] ?? 0) + (norm.mean[c] ?? 0)) - 1;
  });
  return float32(shape, values);
}

const options = {
  ...{ config, batch: count, accumulate: 1, norm, leastCrop: 1, seed: 1 },
  loader: {
    at: async (index: number) =>
      ({
        pictures: picture(index % settings.inputIds.length),
        captions: Array.from({ length: count }, (_, i) => `${index % settings.inputIds.length} ${i}`),
        ids: Array.from({ length: count }, (_, i) => `${i}`),
      }) as unknown as Loaded,
  },
  tokenizer: {
    encode: (caption: string) => {
      const [batch, row] = caption.split(" ").map(Number);
      return { ids: settings.inputIds[batch ?? 0][row ?? 0], length: 0, cut: "" };
    },
  },
};

/** A trainer whose weights are the golden's. */
async function trainerAt(logitScale: number, rate: number): Promise<Trainer> {
  const task = clipTask({ ...options, initial: filledStore(new Map()) });
  const store = filledStore(task.weights);
  const initial = {
    ...store,
    read: async (name: string) =>
      name === "logit_scale" ? float32([], Float32Array.of(logitScale)) : store.read(name),
  };
  return createTrainer(task.objective, task.weights, initial, {
    ...{ engine, threads: 1, store: noStore, rate: () => rate, maxNorm: settings.maxNorm },
    optimizer: adamW({ weightDecay: settings.weightDecay }),
  });
}

describe.each(Object.keys(golden.gradients))("the gradients of CLIP, its scale %s", (name) => {
  it("are PyTorch's in float64, for every parameter", async () => {
    const expected = golden.gradients[name];
    const task = clipTask({ ...options, initial: filledStore(new Map()) });
    expect([...task.weights.keys()].sort()).toEqual(Object.keys(expected.parameters).sort());
    const layout = layOut([...task.weights].map(([key, { shape }]) => [key, shape] as const));
    const [values, gradients] = [makeArena(layout), makeArena(layout)];
    for (const [key, t] of values.tensors) toFloat32(t).set(fill(key, t.shape));
    toFloat32(values.tensors.get("logit_scale") as Tensor)[0] = expected.logitScale;
    const program = gradientProgram(task.objective, task.weights, {
      ...{ engine, threads: 1, store: noStore },
    });
    const [batch] = await task.batches(1);
    const terms = await program.run(batch ?? {}, values.tensors, gradients.tensors);
    await program.dispose();

    const loss = ((terms.texts ?? 0) + (terms.pictures ?? 0)) / 2;
    expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(1e-5);
    const rows = Object.entries<readonly number[]>(expected.parameters);
    const all = Math.hypot(...rows.map(([, row]) => row[0] as number));
    for (const [key, [norm, ...wanted]] of rows) {
      const got = projections(key, gradients.tensors.get(key) as Tensor);
      const error = rootMeanSquare(got.map((x, k) => x - (wanted[k] as number)));
      expect(error, key).toBeLessThan(1e-4 * (norm as number) + 1e-6 * all);
    }
  });
});

it("loses what PyTorch loses in 50 steps", async () => {
  const task = clipTask({ ...options, initial: filledStore(new Map()) });
  const trainer = await trainerAt(golden.gradients.learning.logitScale, settings.rate);
  for (const [step, loss] of (golden.curve.losses as number[]).entries()) {
    const report = await trainer.train(await task.batches(step + 1));
    expect(Math.abs(report.loss / loss - 1), `loss of step ${step}`).toBeLessThan(1e-3);
  }
  await trainer.dispose();
});

describe("a batch of pairs", () => {
  it("matches what has one caption or one picture, in equal shares", () => {
    const captions = ["cat", "dog", "cat", "cow"];
    expect([...matches(captions, ["1", "2", "3", "4"])]).toEqual([
      ...[0.5, 0, 0.5, 0],
      ...[0, 1, 0, 0],
      ...[0.5, 0, 0.5, 0],
      ...[0, 0, 0, 1],
    ]);
    expect([...matches(["a", "b"], ["1", "1"])]).toEqual([0.5, 0.5, 0.5, 0.5]);
  });

  it("is the same whenever it is asked for, its crops another for another index or seed", async () => {
    const o = { ...options, leastCrop: 0.5, initial: filledStore(new Map()) };
    const fed = async (index: number, seed = 1) => (await pairFeeds(index, { ...o, seed })).picture?.data;
    expect(await fed(2)).toEqual(await fed(2));
    expect(await fed(2, 3)).not.toEqual(await fed(2));
    // index 7 has the picture of index 2, cropped anew
    expect(await fed(2 + settings.inputIds.length)).not.toEqual(await fed(2));
  });
});
