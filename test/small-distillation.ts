/** A student and its teacher of some thousand weights each, and batches for them. */

import { buildUNet } from "../src/models/unet.ts";
import { unetConfig } from "../src/models/unet-config.ts";
import { float32, type Tensor } from "../src/tensor/tensor.ts";
import type { Batch as Loaded } from "../src/train/data/loader.ts";
import { featurePairs } from "../src/train/distill/features.ts";
import { unetNetwork } from "../src/train/networks/unet.ts";
import type { DistillTaskOptions } from "../src/train/tasks/distill.ts";
import { freshStore } from "../src/train/tasks/fresh.ts";
import type { NoisedOptions } from "../src/train/tasks/noised.ts";
import { trainingNoise } from "../src/train/tasks/schedule.ts";
import { fill } from "./fill.ts";
import { goldenJson } from "./golden.ts";

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
export const smallDistillation: Omit<DistillTaskOptions, "turn" | "engine"> = {
  ...{ teacher, student, size, data, threads: 1, accumulate: 2, detail: "total" },
  pairs: featurePairs(teacher, student, { features: "all", size }),
  weights: { task: 1, output: 0.5, feature: 2 },
};
