/** The presets are the published models: parameters to the unit, arithmetic, structure, and gradients that reach everything. */

import { describe, expect, it } from "vitest";
import { grad } from "../src/autodiff/grad.ts";
import { digest } from "../src/graph/print.ts";
import {
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
import { mean, square } from "../src/ops/index.ts";
import { sameShape } from "../src/tensor/shape.ts";

const configOf = (name: PresetName) => unetConfig(presets[name].unet);
const unetOf = (name: PresetName, cells: number) =>
  buildUNet(configOf(name), { batch: 1, height: cells, width: cells, tokens: 77 });
const teraflops = (outputs: Readonly<Record<string, Parameters<typeof flopsOf>[0] extends Iterable<infer V> ? V : never>>) =>
  flopsOf(Object.values(outputs)) / 1e12;

describe("parameters of the U-Nets", () => {
  // facts.md 1.1 and 2.6; the three BK-SDM totals are those that segmind/distill-sd publishes.
  const totals: readonly [PresetName, number][] = [
    ["sdxl", 2_567_463_684],
    ["sdxl-turbo", 2_567_463_684],
    ["sdxl-lightning", 2_567_463_684],
    ["koala-1b", 1_161_184_324],
    ["koala-lightning-1b", 1_161_184_324],
    ["koala-700m", 782_822_724],
    ["koala-lightning-700m", 782_822_724],
    ["sd2", 865_910_724],
    ["sd21", 865_910_724],
    ["ssd-1b", 1_331_334_404],
    ["vega", 745_225_604],
    ["sd15", 859_520_964],
    ["bk-sdm-small", 482_346_884],
    ["bk-sdm-tiny", 323_384_964],
    ["bk-sdm-base", 579_384_964],
  ];
  it.each(totals)("%s has %i", (name, total) => {
    expect(unetCensus(unetOf(name, 8).parameters).parameters).toBe(total);
  });
});
