/** Which taps are paired, for the published teachers and students. */

import { describe, expect, it } from "vitest";
import { KoalaError } from "../../core/errors.ts";
import { type PresetName, presets } from "../../models/presets.ts";
import { noStore } from "../flat.ts";
import type { Network } from "../networks/network.ts";
import { unetNetwork } from "../networks/unet.ts";
import { cutUNet } from "./cut.ts";
import { type FeatureOptions, featurePairs } from "./features.ts";

const network = (json: unknown): Network => unetNetwork(json, noStore);
const config = (name: PresetName): Network => network(presets[name].unet);
const size = { batch: 1, height: 128, width: 128, tokens: 77 };

type Options = Omit<FeatureOptions, "size">;
const pairs = (teacher: PresetName, student: PresetName, o: Options = {}) =>
  featurePairs(config(teacher), config(student), { size, ...o });
const names = (found: ReturnType<typeof pairs>): string[] =>
  found.map(({ student, teacher }) => (student === teacher ? student : `${student} ← ${teacher}`));

function errorOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof KoalaError) return error.message;
    throw error;
  }
  return "no error";
}

describe("KOALA's features", () => {
  // facts: 30 self-attention layers in KOALA-1B, 21 in KOALA-700M; DW-1 and UP-3 have none and give their last feature
  it.each([
    ["koala-1b", 30, { "DW-2": 2, "DW-3": 6, Mid: 6, "UP-1": 12, "UP-2": 4 }],
    ["koala-700m", 21, { "DW-2": 2, "DW-3": 5, "UP-1": 10, "UP-2": 4 }],
  ] as const)("of %s are %i self-attention outputs and two last features", (student, total, stages) => {
    const found = pairs("sdxl", student);
    const attention = found.filter(({ kind }) => kind === "SA");
    expect(attention.length).toBe(total);
    const counts: Record<string, number> = {};
    for (const { stage } of attention) counts[stage] = (counts[stage] ?? 0) + 1;
    expect(counts).toEqual(stages);
    expect(found.filter(({ kind }) => kind === "LF").map(({ student: tap }) => tap)).toEqual([
      "down_blocks.0",
      "up_blocks.2",
    ]);
  });

  it("have the shapes that 1024 px give", () => {
    const shapes = new Map(pairs("sdxl", "koala-1b").map(({ student, shape }) => [student, shape]));
    const at = (place: string) => shapes.get(`${place}.attentions.0.transformer_blocks.0.attn1`);
    expect([at("down_blocks.1"), at("up_blocks.1")]).toEqual([
      [1, 4096, 640],
      [1, 4096, 640],
    ]);
    expect([at("down_blocks.2"), at("mid_block"), at("up_blocks.0")]).toEqual([
      [1, 1024, 1280],
      [1, 1024, 1280],
      [1, 1024, 1280],
    ]);
    expect(shapes.get("down_blocks.0")).toEqual([1, 320, 64, 64]); // after its sampler
  });

  it("are matched by index, and the second layer on the way up with the teacher's third", () => {
    const found = names(pairs("sdxl", "koala-700m", { features: { SA: ["DW-2", "UP-2"] } }));
    const [own, theirs] = ["up_blocks.1.attentions.1", "up_blocks.1.attentions.2"];
    expect(found).toEqual([
      "down_blocks.1.attentions.0.transformer_blocks.0.attn1",
      "down_blocks.1.attentions.0.transformer_blocks.1.attn1",
      "up_blocks.1.attentions.0.transformer_blocks.0.attn1",
      "up_blocks.1.attentions.0.transformer_blocks.1.attn1",
      `${own}.transformer_blocks.0.attn1 ← ${theirs}.transformer_blocks.0.attn1`,
      `${own}.transformer_blocks.1.attn1 ← ${theirs}.transformer_blocks.1.attn1`,
    ]);
  });
});

describe("BK-SDM's features", () => {
  it("are the last feature of every stage on both ways", () => {
    const blocks = (way: string, n: number) => Array.from({ length: n }, (_, i) => `${way}_blocks.${i}`);
    const found = names(pairs("sd15", "bk-sdm-base", { features: "bk-sdm" }));
    expect(found).toEqual([...blocks("down", 4), ...blocks("up", 4)]);
  });

  it("of the tiny one skip the coarsest level, and end the way down before the sampler that it lacks", () => {
    expect(names(pairs("sd15", "bk-sdm-tiny", { features: "bk-sdm" }))).toEqual([
      "down_blocks.0",
      "down_blocks.1",
      "down_blocks.2.attentions.0 ← down_blocks.2.attentions.1",
      "up_blocks.0 ← up_blocks.1",
      "up_blocks.1 ← up_blocks.2",
      "up_blocks.2 ← up_blocks.3",
    ]);
  });
});

describe("layers are matched as asked", () => {
  const teachers = (o: Options): number[] =>
    pairs("sdxl", "koala-700m", { features: { FFN: ["DW-3"] }, ...o }).map(({ teacher }) =>
      Number(/transformer_blocks\.(\d+)\.ff$/.exec(teacher)?.[1]),
    );
  it("by index, from the end, evenly, or all of the teacher's", () => {
    expect(teachers({})).toEqual([0, 1, 2, 3, 4]);
    expect(teachers({ map: "last" })).toEqual([5, 6, 7, 8, 9]);
    expect(teachers({ map: "interleaved" })).toEqual([0, 2, 4, 6, 8]);
    expect(teachers({ map: "one-to-many" })).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const many = pairs("sdxl", "koala-1b", { features: { CA: ["Mid"] }, map: "one-to-many" });
    const groups = many.map(({ student }) => Number(/blocks\.(\d+)/.exec(student)?.[1]));
    expect(groups).toEqual([0, 1, 1, 2, 2, 3, 4, 4, 5, 5]);
  });

  it("by where the weights came from, unless another map is asked for", () => {
    const { plan } = cutUNet(presets.sdxl.unet, "koala-700m", { keep: "last" });
    expect(teachers({ plan })).toEqual([5, 6, 7, 8, 9]);
    expect(teachers({ plan, map: "first" })).toEqual([0, 1, 2, 3, 4]);
  });
});

it("every feature of every stage is SA, CA, FFN, the ResNets and the last features", () => {
  const found = pairs("sdxl", "koala-1b", { features: "all" });
  const count = (kind: string) => found.filter((pair) => pair.kind === kind).length;
  // ResNets: 3 down, 2 in the middle, 6 up; last features: 7 stages
  expect([count("SA"), count("CA"), count("FFN"), count("Res"), count("LF")]).toEqual([30, 30, 30, 11, 7]);
  expect(found.find(({ student }) => student === "up_blocks.2.resnets.1")?.teacher).toBe(
    "up_blocks.2.resnets.2",
  );
});

it("a middle of one ResNet is compared by what both have", () => {
  const found = pairs("sdxl", "ssd-1b", { features: { SA: "all", Res: ["Mid"], LF: ["Mid"] } });
  expect(found.filter(({ stage }) => stage === "Mid").map(({ student }) => student)).toEqual([
    "mid_block.resnets.0",
    "mid_block",
  ]);
});

it("any two taps can be paired by name", () => {
  const to = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";
  expect(pairs("sdxl", "koala-1b", { features: {}, taps: [[to, to]] })).toEqual([
    { kind: "tap", stage: "", student: to, teacher: to, shape: [1, 4096, 640] },
  ]);
});

describe("what does not fit is told at once", () => {
  const where = "features: expected features that student and teacher both have, of one shape, got";
  it.each([
    [
      () => pairs("sdxl", "koala-700m", { features: { SA: ["DW-1", "Mid", "UP-1"] } }),
      `${where} 2 that do not fit [E_CONFIG]\nSA at DW-1: the stage has no transformer on both sides\nSA at Mid: no such stage on both sides; they are DW-1, DW-2, DW-3, UP-1, UP-2, UP-3`,
    ],
    [
      () => pairs("sdxl", "koala-1b", { features: { XA: "all" } as never }),
      `${where} one that does not fit [E_CONFIG]\nXA: no such feature; they are SA, CA, FFN, Res, LF`,
    ],
    [
      () => pairs("sdxl", "koala-1b", { features: {}, taps: [["down_blocks.9", "mid_blok"]] }),
      `${where} 2 that do not fit [E_CONFIG]\ndown_blocks.9: the student has no such tap; it has down_blocks.0, down_blocks.1\nmid_blok: the teacher has no such tap; it has mid_block`,
    ],
    [
      () => pairs("sdxl", "koala-1b", { features: {}, taps: [["down_blocks.0", "down_blocks.1"]] }),
      `${where} one that does not fit [E_CONFIG]\ndown_blocks.0: [1, 320, 64, 64] in the student, [1, 640, 32, 32] in the teacher's down_blocks.1`,
    ],
    [
      () => pairs("koala-700m", "koala-1b", { features: { CA: ["DW-3"] } }),
      `${where} one that does not fit [E_CONFIG]\ndown_blocks.2.attentions.0.transformer_blocks.5.attn2: the teacher has no such tap; it has down_blocks.2.attentions.0.transformer_blocks.0.attn2, down_blocks.2.attentions.0.transformer_blocks.1.attn2`,
    ],
    [
      () => pairs("bk-sdm-tiny", "bk-sdm-small"),
      "features: expected a student of at most the teacher's 3 levels, got one of 4 [E_CONFIG]",
    ],
    [
      () => pairs("sdxl", "koala-1b", { features: {} }),
      "features: expected at least one feature of one stage, got none [E_CONFIG]",
    ],
  ])("%#", (run, sentence) => expect(errorOf(run)).toBe(sentence));

  it("in a screenful of lines", () => {
    const message = errorOf(() => pairs("sdxl", "tiny", { features: "all" }));
    expect(message.split("\n").length).toBe(1 + 9);
    expect(message).toMatch(/\nand \d+ more$/);
  });
});
