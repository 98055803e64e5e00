/** The presets are the published models: parameters to the unit, arithmetic, structure; gradients reach every parameter. */

import { describe, expect, it } from "vitest";
import { grad } from "../src/autodiff/grad.ts";
import type { Value } from "../src/graph/op.ts";
import { tapsOf } from "../src/graph/order.ts";
import { digest } from "../src/graph/print.ts";
import {
  type Built,
  buildClipText,
  buildUNet,
  buildVaeDecoder,
  buildVaeEncoder,
  buildVaeTinyDecoder,
  buildVaeTinyEncoder,
  checkpointBytes,
  clipTextConfig,
  countParameters,
  flopsOf,
  type PresetName,
  presetNames,
  presets,
  unetCensus,
  unetConfig,
  vaeConfig,
  vaeTinyConfig,
} from "../src/models.ts";
import { add, mean, square } from "../src/ops/index.ts";

const unetOf = (name: PresetName, cells = 8) =>
  buildUNet(unetConfig(presets[name].unet), { batch: 1, height: cells, width: cells, tokens: 77 });
const censusOf = (name: PresetName) => unetCensus(unetOf(name).parameters);
const teraflops = (model: Built) => flopsOf(Object.values(model.outputs)) / 1e12;
const millions = (n: number) => Math.round(n / 1e5) / 10;

// facts.md 1.1 and 2.6 to 2.8: published, or computed from published shapes and met by the published file sizes.
// bk-sdm-small and the v2 ones: diffusers 0.42 counting the same config.
const totals: Readonly<Record<PresetName, number>> = {
  sdxl: 2_567_463_684,
  "sdxl-turbo": 2_567_463_684,
  "sdxl-lightning": 2_567_463_684,
  "koala-1b": 1_161_184_324,
  "koala-lightning-1b": 1_161_184_324,
  "koala-700m": 782_822_724,
  "koala-lightning-700m": 782_822_724,
  "ssd-1b": 1_331_334_404,
  vega: 745_225_604,
  sd15: 859_520_964,
  sd2: 865_910_724,
  sd21: 865_910_724,
  "bk-sdm-base": 579_384_964,
  "bk-sdm-small": 482_346_884,
  "bk-sdm-tiny": 323_384_964,
  "bk-sdm-v2-base": 583_480_964,
  "bk-sdm-v2-small": 485_787_524,
  "bk-sdm-v2-tiny": 326_825_604,
  tiny: 1_707_364, // ours
};

describe("parameters", () => {
  it.each(presetNames)("of the U-Net of %s are as published, to the unit", (name) => {
    const { parameters, kinds } = censusOf(name);
    expect(parameters).toBe(totals[name]);
    expect(Object.values(kinds).reduce((a, b) => a + b)).toBe(parameters);
  });

  it("of each stage are those of the paper's models, in millions", () => {
    const stages = (name: PresetName) => {
      const { stem: _, ...rest } = censusOf(name).stages;
      return Object.fromEntries(Object.entries(rest).map(([stage, n]) => [stage, millions(n)]));
    };
    // facts.md 1.1
    expect(stages("sdxl")).toEqual({
      DW1: 5.4,
      DW2: 60.1,
      DW3: 757.4,
      MID: 413.1,
      UP1: 1206.6,
      UP2: 106.3,
      UP3: 11.2,
    });
    expect(stages("koala-1b")).toEqual({
      DW1: 3.2,
      DW2: 31.1,
      DW3: 236.4,
      MID: 274.1,
      UP1: 528.5,
      UP2: 72.8,
      UP3: 7.8,
    });
    expect(stages("koala-700m")).toEqual({ DW1: 3.2, DW2: 31.1, DW3: 201.6, UP1: 459, UP2: 72.8, UP3: 7.8 });
  });

  it("of SDXL's other parts are as published", () => {
    const { vae, textEncoders } = presets.sdxl;
    const config = vaeConfig(vae);
    const size = { batch: 1, height: 8, width: 8 };
    const both = [buildVaeEncoder(config, size), buildVaeDecoder(config, size)];
    // Bytes of the published float32 files, less their headers: facts.md 2.1.
    const published: readonly [number, number][] = [
      [4 * both.reduce((n, { parameters }) => n + countParameters(parameters), 0), 334_643_268],
      ...textEncoders.map((json, i): [number, number] => {
        const { parameters } = buildClipText(clipTextConfig(json), { batch: 1, tokens: 77 });
        return [checkpointBytes(parameters, "float32"), [492_265_168, 2_778_702_264][i] ?? 0];
      }),
    ];
    for (const [ours, file] of published) {
      expect(file - ours).toBeGreaterThan(0);
      expect(file - ours).toBeLessThan(80_000); // a header of 250 to 520 names
    }
    expect(checkpointBytes(unetOf("koala-700m").parameters, "float16")).toBe(2 * totals["koala-700m"]);
  });
});

describe("structure", () => {
  it("lists transformer blocks as the paper's Table 1 does", () => {
    expect(censusOf("sd2").transformerBlocks).toEqual([1, 1, 1, 1]);
    expect(censusOf("sdxl").transformerBlocks).toEqual([0, 2, 10]);
    expect(censusOf("koala-1b")).toMatchObject({ transformerBlocks: [0, 2, 6], hasMid: true });
    expect(censusOf("koala-700m")).toMatchObject({ transformerBlocks: [0, 2, 5], hasMid: false });
  });

  it("counts self-attention layers: 70 in SDXL, 30 in KOALA-1B, 21 in KOALA-700M", () => {
    expect(censusOf("sdxl").selfAttentions).toEqual({ DW2: 4, DW3: 20, MID: 10, UP1: 30, UP2: 6 });
    expect(censusOf("koala-1b").selfAttentions).toEqual({ DW2: 2, DW3: 6, MID: 6, UP1: 12, UP2: 4 });
    expect(censusOf("koala-700m").selfAttentions).toEqual({ DW2: 2, DW3: 5, UP1: 10, UP2: 4 });
  });

  it("has a tap wherever a feature may be distilled", () => {
    const names = tapsOf(Object.values(unetOf("koala-1b").outputs));
    for (const name of [
      "down_blocks.0",
      "down_blocks.1.resnets.0",
      "down_blocks.2.attentions.0",
      "mid_block",
      "mid_block.attentions.0.transformer_blocks.5.attn1",
      "up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q",
      "up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_k",
      "up_blocks.1.attentions.0.transformer_blocks.1.attn2",
      "up_blocks.1.attentions.0.transformer_blocks.1.ff",
      "up_blocks.2",
    ]) {
      expect(names.has(name), name).toBe(true);
    }
    expect(names.get("down_blocks.0")?.shape).toEqual([1, 320, 4, 4]); // after the downsampler, as a hook on the module sees it
  });

  it.each(presetNames)("of %s is the graph of test/graphs", async (name) => {
    const model = unetOf(name, presets[name].unet.sample_size as number);
    await expect(digest(Object.values(model.outputs))).toMatchFileSnapshot(`graphs/${name}.txt`);
  });
});

describe("arithmetic of one run", () => {
  // engine.md, "Cost model": matrix products and convolutions alone, so ours are a little above.
  const costs: readonly [PresetName, number, number][] = [
    ["koala-700m", 0.623, 2.702],
    ["koala-1b", 0.802, 3.432],
    ["sdxl", 1.589, 6.761],
    ["ssd-1b", 0.98, 4.208],
    ["vega", 0.663, 2.822],
  ];
  it.each(costs)("of %s is %f TFLOP at 512 px and %f at 1024 px", (name, small, large) => {
    expect(Math.abs(teraflops(unetOf(name, 64)) / small - 1)).toBeLessThan(0.02);
    expect(Math.abs(teraflops(unetOf(name, 128)) / large - 1)).toBeLessThan(0.02);
  });

  it("of the autoencoders at 1024 px is 10.470 and 4.879 TFLOP, and 0.565 and 0.489 for the tiny one", () => {
    const config = vaeConfig(presets.sdxl.vae);
    const tiny = vaeTinyConfig({ _class_name: "AutoencoderTiny" });
    const cells = { batch: 1, height: 128, width: 128 };
    const pixels = { batch: 1, height: 1024, width: 1024 };
    const ratios = [
      teraflops(buildVaeDecoder(config, cells)) / 10.47,
      teraflops(buildVaeEncoder(config, pixels)) / 4.879,
      teraflops(buildVaeTinyDecoder(tiny, cells)) / 0.565,
      teraflops(buildVaeTinyEncoder(tiny, pixels)) / 0.489,
    ];
    for (const ratio of ratios) expect(Math.abs(ratio - 1)).toBeLessThan(0.02);
  });
});

describe("a gradient reaches every parameter", () => {
  const size = { batch: 1, height: 8, width: 8 };
  const [first, second] = presets.tiny.textEncoders.map((json) =>
    buildClipText(clipTextConfig(json), { batch: 1, tokens: 5 }),
  ) as [Built, Built];
  const models: Readonly<Record<string, Built>> = {
    "U-Net": unetOf("tiny"),
    "U-Net of a consistency model": buildUNet(unetConfig({ ...presets.tiny.unet, time_cond_proj_dim: 8 }), {
      ...size,
      tokens: 5,
    }),
    "VAE encoder": buildVaeEncoder(vaeConfig(presets.tiny.vae), { ...size, height: 16, width: 16 }),
    "VAE decoder": buildVaeDecoder(vaeConfig(presets.tiny.vae), size),
    "tiny VAE encoder": buildVaeTinyEncoder(vaeTinyConfig({ _class_name: "AutoencoderTiny" }), size),
    "tiny VAE decoder": buildVaeTinyDecoder(vaeTinyConfig({ _class_name: "AutoencoderTiny" }), size),
    "text tower": first,
    "text tower with projection": second,
  };
  it.each(Object.keys(models))("of the %s", (name) => {
    const { outputs, parameters } = models[name] as Built;
    const loss = Object.values(outputs)
      .map((output: Value) =>
        mean(
          square(output),
          output.shape.map((_, i) => i),
          { keep: false },
        ),
      )
      .reduce((a, b) => add(a, b));
    const values = [...parameters.values()].map(({ value }) => value);
    const gradients = grad(loss, values); // throws, naming the parameter, where none flows
    expect(gradients.map(({ shape }) => shape)).toEqual(values.map(({ shape }) => shape));
  });
});
