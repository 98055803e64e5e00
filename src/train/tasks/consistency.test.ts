/** What few-step students are fed, and low-rank additions; test/slow/few-steps.test.ts trains them. */

import { describe, expect, it } from "vitest";
import { options, store } from "../../../test/few-steps-scene.ts";
import { fill } from "../../../test/fill.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { placesOf } from "../consistency/path.ts";
import { mergedWeights } from "../lora.ts";
import { consistencyFeeds } from "./consistency.ts";

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
    const merged = await mergedWeights("unet", store, [name, "conv_in.weight"], lora);
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
