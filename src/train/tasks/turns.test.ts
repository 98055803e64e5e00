/** A teacher and a student that take turns: what is asked when, and where it waits. */

import { describe, expect, it } from "vitest";
import { fill } from "../../../test/fill.ts";
import { goldenJson } from "../../../test/golden.ts";
import { buildUNet } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import { host } from "../../runtime/host.ts";
import { float32, type Tensor } from "../../tensor/tensor.ts";
import type { Batch as Loaded } from "../data/loader.ts";
import { featurePairs } from "../distill/features.ts";
import { unetNetwork } from "../networks/unet.ts";
import { type DistillTaskOptions, distillTask } from "./distill.ts";
import { freshStore } from "./fresh.ts";
import type { NoisedOptions } from "./noised.ts";
import { trainingNoise } from "./schedule.ts";
import { type AnswerStore, memoryAnswers, turnLength } from "./turns.ts";

const engine = await host.engine("ort");
const json = {
  ...goldenJson("families/koala-700m/unet/config.json"),
  ...{ block_out_channels: [8, 16], attention_head_dim: [1, 2], transformer_layers_per_block: [1, 1] },
  norm_num_groups: 4,
  ...{ down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"] },
  ...{ up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"] },
};
const config = unetConfig(json);
const size = { batch: 2, height: 8, width: 8, tokens: 4 };
const { parameters } = buildUNet(config, size);
const teacher = unetNetwork(json, freshStore(parameters, 6));
const student = unetNetwork(json, freshStore(parameters, 5));

const random = (name: string, ...shape: number[]): Tensor => float32(shape, fill(`input.${name}`, shape));
const loader = {
  at: async (step: number): Promise<Loaded> => ({
    ...{ step, epoch: 0, size: { width: 64, height: 64 }, ids: ["a", "b"], captions: ["a cat", ""] },
    pictures: random(`pictures.${step}`, 2, 2 * config.inChannels, 8, 8),
    text: random("text", 2, 4, config.textChannels),
    pooled: random("pooled", 2, config.added?.pooledChannels ?? 0),
    sizes: [64, 64, 0, 0, 64, 64, 64, 64, 0, 0, 64, 64],
  }),
};
const data: NoisedOptions = {
  ...trainingNoise({ beta_schedule: "scaled_linear", beta_start: 0.00085, beta_end: 0.012 }, "scheduler"),
  ...{ loader, network: student, vae: { scalingFactor: 0.5, shiftFactor: 0 } },
  ...{ hasZeroForEmpty: true, seed: 1, minSnr: 5, noiseOffset: 0 },
};
const options: Omit<DistillTaskOptions, "turn"> = {
  ...{ teacher, student, size, data, engine, threads: 1, accumulate: 2, detail: "total" },
  pairs: featurePairs(teacher, student, { features: "all", size }),
  weights: { task: 1, output: 0.5, feature: 2 },
};

describe("turns", () => {
  it("are of whole steps", () => {
    expect([1, 2, 3, 4, 5].map((turn) => turnLength(turn, 2))).toEqual([2, 2, 4, 4, 6]);
    expect(turnLength(16, 1)).toBe(16);
  });

  it("give each batch the same answers, whatever their length and wherever these wait", async () => {
    const inner = memoryAnswers();
    const turns: number[][] = [];
    const answers: AnswerStore = {
      ...inner,
      async put(index, said) {
        turns.at(-1)?.push(index);
        await inner.put(index, said);
      },
      async clear() {
        turns.push([]);
        await inner.clear();
      },
    };
    const task = distillTask({ ...options, turn: 3, answers });
    const usual = distillTask({ ...options, turn: 1 });
    for (const step of [1, 2, 3]) expect(await task.batches(step)).toEqual(await usual.batches(step));
    expect(turns).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ]);
    expect(await inner.get(4)).toBeDefined();
    await task.dispose();
    expect(await inner.get(4)).toBeUndefined();
    await usual.dispose();
  });
});
