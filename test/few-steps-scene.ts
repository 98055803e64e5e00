/** A tiny U-Net, its teacher and made-up data for few-step students; fast and slow tests share it. */

import { buildUNet } from "../src/models/unet.ts";
import { unetConfig } from "../src/models/unet-config.ts";
import type { TensorStore } from "../src/tensor/stored.ts";
import { wholeLearner } from "../src/train/learner.ts";
import { unetNetwork } from "../src/train/networks/unet.ts";
import type { ConsistencyTaskOptions } from "../src/train/tasks/consistency.ts";
import { trainingNoise } from "../src/train/tasks/schedule.ts";
import { filledStore } from "./filled-store.ts";
import { goldenJson } from "./golden.ts";
import { batchesFor, random } from "./training-batches.ts";

const json = goldenJson("families/koala-700m/unet/config.json");
const config = unetConfig(json);
const size = { batch: 2, height: 8, width: 8, tokens: 4 };
export const store: TensorStore = filledStore(buildUNet(config, size));
const network = unetNetwork(json, store);
const loader = batchesFor(config, ["a cat", "a dog"]);
export const noise = trainingNoise(
  { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" },
  "here",
);

export function options(more: Partial<ConsistencyTaskOptions> = {}): ConsistencyTaskOptions {
  return {
    ...{ teacher: network, student: network, learner: wholeLearner(store), size, accumulate: 1 },
    path: { ...noise, method: "pcm", grid: 40, phases: 4 },
    data: {
      ...{ loader, network, hasZeroForEmpty: true, seed: 3 },
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
