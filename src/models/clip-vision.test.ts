/** The picture tower against transformers: test/golden/vision, made by scripts/oracle/g_vision.py. */

import { describe, expect, it } from "vitest";
import { fill } from "../../test/fill.ts";
import { goldenJson, goldenTensors } from "../../test/golden.ts";
import { interpret } from "../graph/interpret.ts";
import type { NdArray } from "../graph/op.ts";
import type { Shape } from "../tensor/shape.ts";
import { buildClipVision, clipVisionConfig } from "./clip-vision.ts";

const filled = (name: string, shape: Shape): NdArray => ({
  shape,
  data: Float64Array.from(fill(name, shape)),
});

describe.each(["quick-gelu", "gelu"])("%s", (name) => {
  const config = clipVisionConfig(goldenJson(`vision/${name}/config.json`));
  const { inputs, outputs, parameters } = buildClipVision(config, 2);

  it("has the parameters of transformers' CLIPVisionModelWithProjection", () => {
    const { census } = goldenJson("vision/index.json").models[name];
    const counts = [...parameters.values()].map(({ value }) => value.shape.reduce((n, d) => n * d, 1));
    expect(parameters.size).toBe(census.tensors);
    expect(counts.reduce((a, b) => a + b, 0)).toBe(census.parameters);
  });

  it("gives its states and vectors to 1e-5 of their largest", () => {
    const leaves = new Map([...parameters].map(([key, { value }]) => [key, filled(key, value.shape)]));
    leaves.set("picture", filled("input.picture", inputs.picture?.shape ?? []));
    const expected = goldenTensors(`vision/${name}/expected.safetensors`);
    const names = { last: "last_hidden_state", pooled: "pooled", projected: "image_embeds" } as const;
    for (const [ours, theirs] of Object.entries(names)) {
      const [{ data }] = interpret([outputs[ours as keyof typeof names]], leaves) as [NdArray];
      const golden = expected.get(theirs)?.data as Float32Array;
      const scale = golden.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      for (const [i, x] of golden.entries()) expect(Math.abs((data[i] ?? 0) - x) / scale).toBeLessThan(1e-5);
    }
  });
});

describe("clipVisionConfig", () => {
  const small = goldenJson("vision/gelu/config.json");

  it.each([
    [
      { patch_size: 5 },
      "image_encoder/config.json (patch_size): expected a divisor of image_size, 32, got 5 [E_CONFIG]",
    ],
    [
      { num_attention_heads: 5 },
      "image_encoder/config.json (num_attention_heads): expected a divisor of hidden_size, 48, got 5 [E_CONFIG]",
    ],
  ])("refuses %j", (change, message) => {
    expect(() => clipVisionConfig({ ...small, ...change })).toThrow(message);
  });
});
