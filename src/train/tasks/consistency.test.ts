/** What few-step students are fed, and low-rank additions; test/slow/few-steps.test.ts trains them. */

import { describe, expect, it } from "vitest";
import { fill } from "../../../test/fill.ts";
import { goldenJson } from "../../../test/golden.ts";
import { buildUNet } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { placesOf } from "../consistency/path.ts";
import type { Batch as Loaded } from "../data/loader.ts";
import { wholeLearner } from "../learner.ts";
import { mergedWeights } from "../lora.ts";
import { unetNetwork } from "../networks/unet.ts";
import { type ConsistencyTaskOptions, consistencyFeeds } from "./consistency.ts";
import { trainingNoise } from "./schedule.ts";

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
describe("a few-step student in training", () => {
  it("its batches follow from seed and index alone, and guidance lies within its bounds", async () => {
    const o = options();
    const places = placesOf(o.path);
    const a = await consistencyFeeds(5, places, o);
    const b = await consistencyFeeds(5, places, o);
    expect(Object.keys(a)).toEqual(Object.keys(b));
    for (const name of Object.keys(a)) expect(a[name]?.data, name).toEqual(b[name]?.data);
    for (const w of toFloat32(a.guidance as Tensor)) {
      expect(w).toBeGreaterThanOrEqual(6);
      expect(w).toBeLessThanOrEqual(7);
    }
    expect(toFloat32(a["no.text"] as Tensor).every((x) => x === 0)).toBe(true);
  });
});

describe("low-rank additions", () => {
  it("merged are W + B A, and weights without them stay", async () => {
    const name = "down_blocks.0.resnets.0.conv1.weight";
    const base = await store.read(name);
    const [outputs = 0, inputs = 0] = base.shape;
    const down = float32([2, inputs, 3, 3], fill("input.a", [2, inputs, 3, 3]));
    const up = float32([outputs, 2, 1, 1], fill("input.b", [outputs, 2, 1, 1]));
    const lora = new Map([
      ["unet.down_blocks.0.resnets.0.conv1.lora_A.weight", down],
      ["unet.down_blocks.0.resnets.0.conv1.lora_B.weight", up],
    ]);
    const merged = await mergedWeights(store, [name, "conv_in.weight"], lora);
    const [a, b, w] = [toFloat32(down), toFloat32(up), toFloat32(base)];
    const columns = inputs * 9;
    const at = (o: number, i: number): number =>
      (w[o * columns + i] ?? 0) + (b[2 * o] ?? 0) * (a[i] ?? 0) + (b[2 * o + 1] ?? 0) * (a[columns + i] ?? 0);
    const out = toFloat32(merged.get(name) as Tensor);
    for (const [o, i] of [
      [0, 0],
      [1, 7],
      [outputs - 1, columns - 1],
    ] as const)
      expect(out[o * columns + i]).toBeCloseTo(at(o, i), 5);
    expect(merged.get("conv_in.weight")?.data).toEqual((await store.read("conv_in.weight")).data);
  });
});
