/** Students against the published ones, and against maps made by hand: see test/golden/README.md, `distill/`. */

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { goldenJson } from "../../../test/golden.ts";
import { KoalaError } from "../../core/errors.ts";
import { countParameters } from "../../models/census.ts";
import { type PresetName, presets } from "../../models/presets.ts";
import { buildUNet } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import { float32 } from "../../tensor/tensor.ts";
import { openStore } from "../../weights/layout.ts";
import { memoryFiles } from "../../weights/memory-files.ts";
import { serializeSafetensors } from "../../weights/safetensors-writer.ts";
import { type CutOptions, cutStore, cutUNet } from "./cut.ts";
import { cutRows, runs } from "./cut-table.ts";
import { cutRecord, planFromRecord } from "./record.ts";
import { type CutRuleName, cutRuleNames, cutRules, unetRuleName } from "./rules.ts";

const size = { batch: 1, height: 8, width: 8, tokens: 2 };
const cutFrom = (teacher: PresetName, rule: CutRuleName, o: CutOptions = {}) =>
  cutUNet(presets[teacher].unet, rule, o);

function errorOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof KoalaError) return error.message;
    throw error;
  }
  return "no error";
}

describe("the cut student is the published one", () => {
  it.each([
    ["sdxl", "koala-1b", "koala-1b", 1_161_184_324],
    ["sdxl", "koala-700m", "koala-700m", 782_822_724],
    ["sd15", "bk-sdm-base", "bk-sdm-base", 579_384_964],
    ["sd15", "bk-sdm-small", "bk-sdm-small", 482_346_884],
    ["sd15", "bk-sdm-tiny", "bk-sdm-tiny", 323_384_964],
    ["sd2", "bk-sdm-tiny", "bk-sdm-v2-tiny", 326_825_604],
  ] as const)("%s by %s has the shape of %s, %i parameters", (teacher, rule, published, total) => {
    const cut = cutFrom(teacher, rule);
    const own = { sampleSize: null }; // SD 2's teachers are of two sizes
    expect({ ...unetConfig(cut.config), ...own }).toEqual({ ...unetConfig(presets[published].unet), ...own });
    expect(countParameters(cut.parameters)).toBe(total);
  });

  // facts: computed from SDXL's published shapes by BK-SDM's rules
  it.each([
    ["bk-sdm-base", 1_717_277_764],
    ["bk-sdm-small", 1_304_160_324],
  ] as const)("SDXL by %s has %i parameters", (rule, total) => {
    expect(countParameters(cutFrom("sdxl", rule).parameters)).toBe(total);
  });

  it("keeps SDXL's config but for what is cut", () => {
    expect(cutFrom("sdxl", "koala-700m").config).toEqual(presets["koala-700m"].unet);
  });
});

describe("every student tensor has a teacher tensor of its shape", () => {
  const teachers: readonly PresetName[] = ["sdxl", "ssd-1b", "vega", "koala-1b", "tiny", "sd15", "sd21"];
  const cases = teachers.flatMap((teacher) =>
    cutRuleNames
      .filter((rule) => teacher.startsWith("sd1") || teacher === "sd21" || !cutRules[rule].dropsCoarsest)
      .filter((rule) => !cutRules[rule].needsXL || presets[teacher].pipeline.includes("XL"))
      .filter((rule) => !(teacher === "tiny" && cutRules[rule].hasMid))
      .map((rule) => [teacher, rule] as const),
  );
  it.each(cases)("%s by %s", (teacher, rule) => {
    const shapes = buildUNet(unetConfig(presets[teacher].unet), size).parameters;
    const { parameters, sources } = cutFrom(teacher, rule, { keep: "random", seed: 3 });
    expect(sources.size).toBe(parameters.size);
    for (const [name, { value }] of parameters)
      expect([name, shapes.get(sources.get(name) ?? "")?.value.shape]).toEqual([name, value.shape]);
    expect(new Set(sources.values()).size).toBe(sources.size);
  });
});

describe("the teacher tensor of a student tensor", () => {
  const { sources } = cutFrom("sdxl", "koala-700m");
  it.each([
    ["conv_in.weight", "conv_in.weight"],
    ["down_blocks.0.resnets.0.conv1.weight", "down_blocks.0.resnets.0.conv1.weight"],
    ["down_blocks.1.downsamplers.0.conv.bias", "down_blocks.1.downsamplers.0.conv.bias"],
    ["up_blocks.0.resnets.1.conv_shortcut.weight", "up_blocks.0.resnets.2.conv_shortcut.weight"],
    ["up_blocks.0.attentions.1.proj_in.weight", "up_blocks.0.attentions.2.proj_in.weight"],
    [
      "up_blocks.1.attentions.1.transformer_blocks.1.attn1.to_q.weight",
      "up_blocks.1.attentions.2.transformer_blocks.1.attn1.to_q.weight",
    ],
    ["up_blocks.2.resnets.1.norm1.weight", "up_blocks.2.resnets.2.norm1.weight"],
  ])("%s is %s", (student, teacher) => expect(sources.get(student)).toBe(teacher));

  it("of BK-SDM's tiny is one block further up, with its sampler", () => {
    const tiny = cutFrom("sd15", "bk-sdm-tiny").sources;
    expect(tiny.get("up_blocks.0.resnets.1.conv1.weight")).toBe("up_blocks.1.resnets.2.conv1.weight");
    expect(tiny.get("up_blocks.1.upsamplers.0.conv.weight")).toBe("up_blocks.2.upsamplers.0.conv.weight");
    expect(tiny.has("down_blocks.2.downsamplers.0.conv.weight")).toBe(false);
  });

  const kept = (o: CutOptions, rule: CutRuleName = "koala-700m") => {
    const { plan } = cutFrom("sdxl", rule, o);
    return plan.down[2]?.layers[0]?.blocks;
  };
  it("follows the choice of transformer blocks", () => {
    expect(kept({})).toEqual([0, 1, 2, 3, 4]);
    expect(kept({ keep: "last" })).toEqual([5, 6, 7, 8, 9]);
    expect(kept({ keep: "interleaved" })).toEqual([0, 2, 4, 6, 8]);
    expect(kept({ keep: "interleaved" }, "koala-1b")).toEqual([0, 1, 3, 5, 6, 8]);
    expect(kept({ keep: "last", depth: 2 })).toEqual([8, 9]);
    const random = kept({ keep: "random", seed: 1 });
    expect(random).toEqual(kept({ keep: "random", seed: 1 }));
    expect(random).not.toEqual(kept({ keep: "random", seed: 2 }));
    expect(random).toEqual([...new Set(random)].sort((a, b) => a - b));
    expect(random?.length).toBe(5);
  });
});

describe("teachers of other shapes", () => {
  it("one layer a stage loses blocks and middle alone", () => {
    const { config, plan } = cutFrom("koala-1b", "koala-700m", { depth: 3 });
    expect(config).toMatchObject({ transformer_layers_per_block: [1, 2, 3], mid_block_type: null });
    expect(plan.up[0]?.layers.map(({ layer }) => layer)).toEqual([0, 1]);
  });

  it("depths that differ between the ways and the layers stay so", () => {
    const { config } = cutFrom("ssd-1b", "koala-1b");
    expect(config.transformer_layers_per_block).toEqual([1, 2, 4]);
    expect(config.reverse_transformer_layers_per_block).toEqual([[4, 6], [2, 1], 1]);
    expect(config.mid_block_type).toBe("UNetMidBlock2D");
  });

  it("a config that leaves fields to their defaults is cut too", () => {
    const { config } = cutUNet({ cross_attention_dim: 768 }, "bk-sdm-tiny");
    expect(unetConfig(config)).toEqual({ ...unetConfig(presets["bk-sdm-tiny"].unet), sampleSize: null });
  });

  it("the middle goes and stays as asked", () => {
    expect(cutFrom("sdxl", "koala-1b", { hasMid: false }).config.mid_block_type).toBe(null);
    expect(cutFrom("sdxl", "koala-700m", { hasMid: true }).plan.mid).toEqual([0, 1, 2, 3, 4]);
  });
});

describe("a student that cannot be cut is one sentence", () => {
  it.each([
    [
      () => cutFrom("sd15", "koala-1b"),
      "koala-1b: add_embedding: expected a teacher in SDXL's layout, which is told sizes and a pooled text, got a teacher without [E_MODEL]\nFrom Stable Diffusion 1 and 2 cut bk-sdm-base, bk-sdm-small or bk-sdm-tiny.",
    ],
    [
      () => cutFrom("koala-700m", "koala-1b"),
      "koala-1b: Mid: expected a teacher with a middle block, which this student keeps, got a teacher without [E_MODEL]\nLeave the middle block out of the student too (--no-mid).",
    ],
    [
      () => cutFrom("sdxl", "bk-sdm-tiny"),
      "bk-sdm-tiny: UP-1: expected a teacher whose two coarsest levels are equally wide, since the coarsest is dropped, got 640 and 1280 channels [E_MODEL]\nbk-sdm-base and bk-sdm-small keep every level.",
    ],
    [
      () =>
        cutUNet(
          { block_out_channels: [32], down_block_types: ["DownBlock2D"], up_block_types: ["UpBlock2D"] },
          "bk-sdm-tiny",
        ),
      "bk-sdm-tiny: DW-1: expected a teacher of two levels or more, since the coarsest is dropped, got one level [E_MODEL]\nbk-sdm-base and bk-sdm-small keep every level.",
    ],
    [
      () => cutFrom("sdxl", "koala-1b", { depth: 0 }),
      "depth: expected a whole number of at least 1, got 0 [E_MODEL]",
    ],
    [
      () => unetRuleName("koala-70m"),
      "student: expected one of koala-1b, koala-700m, bk-sdm-base, bk-sdm-small, bk-sdm-tiny, pixart-N, got koala-70m [E_MODEL]\nDid you mean koala-700m?",
    ],
  ])("%#", (run, sentence) => expect(errorOf(run)).toBe(sentence));
});

it("rows name each part once, with the blocks that survive", () => {
  const rows = cutRows(cutFrom("sdxl", "koala-700m", { keep: "interleaved" }));
  expect(rows.reduce((n, { parameters }) => n + parameters, 0)).toBe(782_822_724);
  expect(rows.find(({ student }) => student === "up_blocks.0.attentions.1")).toEqual({
    student: "up_blocks.0.attentions.1",
    teacher: "up_blocks.0.attentions.2",
    blocks: [0, 2, 4, 6, 8],
    // 5 blocks of 34,755,840 (attention 6,554,880 and 8,520,960, feed-forward 19,672,320, norms 7,680), projections, norm
    parameters: 177_061_120,
  });
  expect(rows[0]).toMatchObject({ student: "time_embedding", teacher: "time_embedding", blocks: [] });
  expect([runs([0, 1, 2, 5, 7, 8]), runs([]), runs([3])]).toEqual(["0-2, 5, 7-8", "", "3"]);
});

it("the student's store reads the teacher's tensors under the student's names", async () => {
  const file = serializeSafetensors({
    "up_blocks.2.resnets.2.norm1.bias": float32([2], [1, 2]),
    "conv_in.bias": float32([1], [3]),
  });
  const teacher = await openStore(memoryFiles("teacher", { "model.safetensors": file }), [
    "model.safetensors",
  ]);
  const store = cutStore(cutFrom("sdxl", "koala-1b"), teacher, "teacher");
  expect([...store.tensors.keys()]).toEqual(["conv_in.bias", "up_blocks.2.resnets.1.norm1.bias"]);
  expect((await store.read("up_blocks.2.resnets.1.norm1.bias")).data).toEqual(Float32Array.of(1, 2));
});

describe("the map is the one made by hand for diffusers' own state dicts", () => {
  const { cuts } = goldenJson("distill/index.json");
  it.each(Object.keys(cuts))("%s", (name) => {
    const { teacher, tensors, sha256 } = cuts[name];
    const rule = unetRuleName(name.replace(" of SDXL", ""));
    const { parameters, sources } = cutUNet(goldenJson(`families/${teacher}/unet/config.json`), rule);
    const lines = [...parameters].map(
      ([tensor, { value }]) => `${tensor} ${value.shape.join("x")} ${sources.get(tensor)}`,
    );
    expect(lines.length).toBe(tensors);
    expect(createHash("sha256").update(lines.sort().join("\n")).digest("hex")).toBe(sha256);
  });
});

describe("the record of a cut", () => {
  const cut = cutFrom("sdxl", "koala-1b", { keep: "random", seed: 4 });
  const record = cutRecord(cut, "a teacher");

  it("gives the plan back", () => {
    const read = JSON.parse(JSON.stringify(record));
    expect(read).toMatchObject({ teacher: "a teacher", rule: "koala-1b", keep: "random", seed: 4, depth: 6 });
    expect(planFromRecord(read, "koala_cut.json")).toEqual(cut.plan);
  });

  it.each([
    [null, "null"],
    [
      { plan: { down: [], up: [{ block: -1, layers: [] }], mid: null } },
      '{"down":[],"up":[{"block":-1,"layers":[]}],"mid":null}',
    ],
  ])("is refused when it is none: %#", (json, got) => {
    expect(errorOf(() => planFromRecord(json, "koala_cut.json"))).toBe(
      `koala_cut.json: expected a plan of down, mid and up, or of blocks, as koala cut writes it, got ${got} [E_CONFIG]`,
    );
  });
});
