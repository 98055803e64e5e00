/** A tiny U-Net, its teacher and made-up data for few-step students; fast and slow tests share it. */

import { buildUNet } from "../src/models/unet.ts";
import { unetConfig } from "../src/models/unet-config.ts";
import type { TensorStore } from "../src/tensor/stored.ts";
import { float32, type Tensor } from "../src/tensor/tensor.ts";
import type { Batch as Loaded } from "../src/train/data/loader.ts";
import { wholeLearner } from "../src/train/learner.ts";
import { unetNetwork } from "../src/train/networks/unet.ts";
import type { ConsistencyTaskOptions } from "../src/train/tasks/consistency.ts";
import { trainingNoise } from "../src/train/tasks/schedule.ts";
import { fill } from "./fill.ts";
import { goldenJson } from "./golden.ts";

const json = goldenJson("families/koala-700m/unet/config.json");
const config = unetConfig(json);
const size = { batch: 2, height: 8, width: 8, tokens: 4 };
const shapes = new Map(
  [...buildUNet(config, size).parameters].map(([name, { value }]) => [name, value.shape] as const),
);
export const store: TensorStore = {
  tensors: new Map(
    [...shapes].map(([name, shape]) => [
      name,
      { dtype: "float32", shape, file: null, offset: 0, byteLength: 0 },
    ]),
  ),
  read: async (name) => float32(shapes.get(name) ?? [], fill(name, shapes.get(name) ?? [])),
};
const network = unetNetwork(json, store);
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
