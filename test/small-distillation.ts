/** A student and its teacher of some thousand weights each, and batches for them. */

import { buildUNet } from "../src/models/unet.ts";
import { unetConfig } from "../src/models/unet-config.ts";
import { featurePairs } from "../src/train/distill/features.ts";
import { unetNetwork } from "../src/train/networks/unet.ts";
import type { DistillTaskOptions } from "../src/train/tasks/distill.ts";
import { freshStore } from "../src/train/tasks/fresh.ts";
import type { NoisedOptions } from "../src/train/tasks/noised.ts";
import { trainingNoise } from "../src/train/tasks/schedule.ts";
import { batchesFor, smallUNet } from "./training-batches.ts";

const config = unetConfig(smallUNet);
const size = { batch: 2, height: 8, width: 8, tokens: 4 };
const { parameters } = buildUNet(config, size);
const teacher = unetNetwork(smallUNet, freshStore(parameters, 6));
const student = unetNetwork(smallUNet, freshStore(parameters, 5));

const loader = batchesFor(config);
const data: NoisedOptions = {
  ...trainingNoise({ beta_schedule: "scaled_linear", beta_start: 0.00085, beta_end: 0.012 }, "scheduler"),
  ...{ loader, network: student, vae: { scalingFactor: 0.5, shiftFactor: 0 } },
  ...{ hasZeroForEmpty: true, seed: 1, weighting: { kind: "min-snr", gamma: 5 }, noiseOffset: 0 },
};
export const smallDistillation: Omit<DistillTaskOptions, "turn" | "engine"> = {
  ...{ teacher, student, size, data, threads: 1, accumulate: 2, detail: "total" },
  pairs: featurePairs(teacher, student, { features: "all", size }),
  weights: { task: 1, output: 0.5, feature: 2 },
};
