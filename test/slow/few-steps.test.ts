/** Few-step students in training: LoRA and adversary go on bit for bit; an LCM is judged by its average. */

import { describe, expect, it } from "vitest";
import { buildUNet } from "../../src/models/unet.ts";
import { unetConfig } from "../../src/models/unet-config.ts";
import { host } from "../../src/runtime/host.ts";
import type { TensorStore } from "../../src/tensor/stored.ts";
import { float32, type Tensor } from "../../src/tensor/tensor.ts";
import { parseRun } from "../../src/train/config.ts";
import type { Batch as Loaded } from "../../src/train/data/loader.ts";
import { loraLearner, wholeLearner } from "../../src/train/learner.ts";
import { unetNetwork } from "../../src/train/networks/unet.ts";
import { trainerOf } from "../../src/train/run.ts";
import { openState, stateFile } from "../../src/train/state.ts";
import { type ConsistencyTaskOptions, consistencyTask, TEACHER } from "../../src/train/tasks/consistency.ts";
import { trainingNoise } from "../../src/train/tasks/schedule.ts";
import type { Trainer } from "../../src/train/trainer.ts";
import { memoryFiles } from "../../src/weights/memory-files.ts";
import { fill } from "../fill.ts";
import { goldenJson } from "../golden.ts";

const json = goldenJson("families/koala-700m/unet/config.json");
const config = unetConfig(json);
const size = { batch: 2, height: 8, width: 8, tokens: 4 };
const shapes = new Map(
  [...buildUNet(config, size).parameters].map(([name, { value }]) => [name, value.shape] as const),
);
const store: TensorStore = {
  tensors: new Map(
    [...shapes].map(([name, shape]) => [
      name,
      { dtype: "float32", shape, file: null, offset: 0, byteLength: 0 },
    ]),
  ),
  read: async (name) => float32(shapes.get(name) ?? [], fill(name, shapes.get(name) ?? [])),
};
const random = (name: string, ...shape: number[]): Tensor => float32(shape, fill(`input.${name}`, shape));
const loader = {
  at: async (step: number): Promise<Loaded> => ({
    ...{ step, epoch: 0, size: { width: 64, height: 64 }, ids: ["a", "b"], captions: ["a cat", "a dog"] },
    pictures: random(`pictures.${step}`, 2, 2 * config.inChannels, 8, 8),
    text: random("text", 2, 4, config.textChannels),
    pooled: random("pooled", 2, config.added?.pooledChannels ?? 0),
    sizes: [64, 64, 0, 0, 64, 64, 64, 64, 0, 0, 64, 64],
  }),
};
const noise = trainingNoise({ beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" }, "here");

function options(more: Partial<ConsistencyTaskOptions> = {}): ConsistencyTaskOptions {
  return {
    ...{ teacher: { config, store }, student: config, learner: wholeLearner(store), size, accumulate: 1 },
    path: { ...noise, method: "pcm", grid: 40, phases: 4 },
    data: {
      ...{ loader, network: unetNetwork(json, store), hasZeroForEmpty: true, seed: 3 },
      vae: { scalingFactor: 0.13, shiftFactor: 0 },
    },
    empty: async () => ({
      text: random("none", 4, config.textChannels),
      pooled: random("none.pooled", config.added?.pooledChannels ?? 0),
    }),
    ...{ guidance: [7, 8], loss: "huber", huberC: 0.001, isJudgedByAverage: false, adversary: null },
    ...more,
  };
}
const run = parseRun({
  ...{ kind: "consistency", method: "pcm", teacher: "t", data: ["d"], rate: 1e-4, ema: 0.9 },
});
const engine = await host.engine("ort");

/** The state file of `trainer` as bytes. */
async function saved(trainer: Trainer): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stateFile(trainer.state())) pieces.push(piece.slice());
  return new Uint8Array(Buffer.concat(pieces));
}

describe("a few-step student in training", () => {
  it("goes on bit for bit, adversary included, with a LoRA that only adds to its teacher", async () => {
    const lora = { rank: 2, targets: ["attention", "resnet", "sampler"], seed: 1 } as const;
    const build = () =>
      consistencyTask(
        options({
          learner: loraLearner(store, TEACHER, lora),
          adversary: { weight: 0.1, rate: 1e-5 },
        }),
      );
    const task = build();
    expect([...task.frozen.tensors.keys()].every((name) => name.startsWith(TEACHER))).toBe(true);
    const whole = await trainerOf(run, task, { engine, threads: 1 });
    const first = await whole.train(await task.batches(1));
    expect(Object.keys(first.terms)).toEqual(["consistency", "adversarial", "discriminator"]);
    const between = await saved(whole);
    await whole.train(await task.batches(2));
    const end = await saved(whole);
    await whole.dispose();

    const again = build();
    const resumed = await trainerOf(run, again, { engine, threads: 1 });
    await resumed.restore(await openState(memoryFiles("memory", { state: between }), "state"));
    await resumed.train(await again.batches(2));
    expect(Buffer.compare(await saved(resumed), end)).toBe(0);

    const names = [...resumed.weights.keys()];
    expect(names.every((name) => /^unet\..*\.lora_[AB]\.weight$/.test(name))).toBe(true);
    await resumed.dispose();
  }, 120_000);

  it("as LCM it is judged by its average, which begins as its weights", async () => {
    const task = consistencyTask(
      options({ path: { ...noise, method: "lcm", grid: 50, phases: 1 }, isJudgedByAverage: true }),
    );
    const trainer = await trainerOf(run, task, { engine, threads: 1 });
    expect(Object.keys(trainer.inputs).some((name) => name.startsWith("average."))).toBe(false);
    const { loss } = await trainer.train(await task.batches(1));
    expect(Number.isFinite(loss)).toBe(true);
    await trainer.dispose();
  }, 120_000);
});
