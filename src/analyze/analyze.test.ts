import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fill } from "../../test/fill.ts";
import { goldenJson } from "../../test/golden.ts";
import { writePixart } from "../../test/model-folder.ts";
import { Pipeline } from "../pipeline/pipeline.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";
import { ditSites } from "../train/distill/blocks.ts";
import { type AnalysisOptions, analyze } from "./analyze.ts";
import { attentionMap } from "./attention-map.ts";
import { gridOf, heat, rgb } from "./paint.ts";
import { principalComponents } from "./pca.ts";
import { meanCosine } from "./similarity.ts";
import { byStage, sitesOf } from "./sites.ts";

const golden = goldenJson("analysis.json");
const tensor = (name: string, shape: readonly number[]): Tensor =>
  float32(shape, fill(`input.${name}`, shape));

const farthest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Math.max(...Array.from(a, (v, i) => Math.abs(v - (b[i] ?? Number.NaN))));

describe("against NumPy", () => {
  test("attention maps", () => {
    const { rows } = attentionMap(tensor("queries", [2, 6, 8]), tensor("keys", [2, 5, 8]), {
      heads: 2,
      index: 1,
    });
    expect(rows).toHaveLength(6);
    for (const [s, row] of rows.entries()) expect(farthest(row, golden.attention[s])).toBeLessThan(1e-5);
  });

  test("attention maps of masked padding are those of a text without it", () => {
    const [queries, keys] = [tensor("queries", [2, 6, 8]), tensor("keys", [1, 5, 8])];
    const shorter = float32([1, 3, 8], (keys.data as Float32Array).slice(0, 24));
    const o = { heads: 2, index: 0 };
    const { rows } = attentionMap(queries, keys, { ...o, seen: 3 });
    for (const [s, row] of attentionMap(queries, shorter, o).rows.entries()) expect(rows[s]).toEqual(row);
  });

  test.each([
    ["tall", [1, 20, 6]],
    ["wide", [1, 7, 16]],
  ] as const)("principal components of %s features", (name, shape) => {
    const { scores, shares } = principalComponents(tensor(name, shape), { index: 0, count: 3 });
    expect(farthest(scores, golden.components[name].scores.flat())).toBeLessThan(1e-5);
    expect(farthest(shares, golden.components[name].shares)).toBeLessThan(1e-5);
  });

  test("cosines of consecutive layers", () => {
    const cosine = meanCosine(tensor("before", [2, 9, 12]), tensor("after", [2, 9, 12]));
    expect(Math.abs(cosine - golden.cosine)).toBeLessThan(1e-5);
  });
});

test("stages are the paper's", () => {
  const names = [
    "down_blocks.1.attentions.0.transformer_blocks.0",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1",
    "mid_block.attentions.0.transformer_blocks.3",
    "up_blocks.0.attentions.2.transformer_blocks.1",
  ];
  expect(
    [...byStage(sitesOf(names))].map(([stage, sites]) => [stage, sites.map(({ layer }) => layer)]),
  ).toEqual([
    ["DW-2", [0]],
    ["Mid", [3]],
    ["UP-1", [1]],
  ]);
});

test("stages of a transformer are those that distillation has", () => {
  for (const layers of [1, 2, 3, 7, 28]) {
    const taps = Array.from({ length: layers }, (_, l) => [
      ...[`transformer_blocks.${l}.attn1`, `transformer_blocks.${l}`],
    ]).flat();
    const { stages, pairs } = ditSites({ layers }, { layers }, {});
    const found = byStage(sitesOf(taps));
    expect([...found.keys()]).toEqual(stages);
    for (const [stage, sites] of found)
      expect(sites.map(({ path }) => `${path}.attn1`)).toEqual(pairs(stage, "SA").map(([own]) => own));
  }
});

test("a denoiser that has nothing to be looked into is refused, but for its guesses", async () => {
  const request = { steps: 1 };
  const bare = {
    ...{ resolve: () => request, taps: () => new Map(), positionsOf: () => [] },
    async *generate() {},
  } as unknown as Pipeline;
  const asked = { prompt: "", seed: 0 };
  await expect(analyze(bare, asked)).rejects.toThrow(
    "analyze: expected a denoiser with transformer blocks, for similarity, attention, pca, got one without [E_MODEL]\nThe guesses on the way (--only strip) need none.",
  );
  expect((await analyze(bare, { ...asked, only: ["strip"] })).strip).toEqual([]);
});

test("a picture of tokens keeps its proportions, its least is dark and its most is light", () => {
  const grid = gridOf(8, { width: 64, height: 32 });
  expect(grid).toEqual({ width: 4, height: 2 });
  const painted = heat(
    Float64Array.from({ length: 8 }, (_, i) => i),
    grid,
    { width: 64, height: 32 },
  );
  expect([...painted.data.subarray(0, 3)]).toEqual([13, 8, 40]);
  expect([...painted.data.subarray(-3)]).toEqual([252, 253, 191]);
  const coloured = rgb(
    Float64Array.from([0, 1, 5, 1, 0, 5]),
    { width: 2, height: 1 },
    { width: 2, height: 1 },
  );
  expect([...coloured.data]).toEqual([0, 255, 0, 255, 0, 0]);
});

describe("a model", () => {
  let pipeline: Pipeline;
  const asked: AnalysisOptions = { prompt: "a red apple", seed: 7, steps: 2 };

  beforeAll(async () => {
    pipeline = await Pipeline.load("models/koala-emoji");
  });
  afterAll(() => pipeline.dispose());

  test("is looked into while it draws the picture that it always draws", async () => {
    const found = await analyze(pipeline, { ...asked, word: "apple" });
    for await (const event of pipeline.generate({ prompt: "a red apple", seed: 7, steps: 2 }))
      if (event.type === "image")
        expect(farthest(event.picture.data, found.picture.data)).toBeLessThanOrEqual(1);
    expect(found.selfAttention.length).toBeGreaterThan(2);
    for (const { values, grid } of found.selfAttention) {
      expect(values).toHaveLength(grid.width * grid.height);
      expect(values.reduce((sum, v) => sum + v, 0)).toBeCloseTo(1, 5);
    }
    expect(found.wordAttention.map(({ stage }) => stage)).toEqual(
      found.selfAttention.map(({ stage }) => stage),
    );
    for (const { values } of found.wordAttention) expect(values.every((v) => v > 0 && v < 1)).toBe(true);
    expect(found.similarity.length).toBeGreaterThan(0);
    expect(found.features?.components.shares.every((share) => share > 0 && share < 1)).toBe(true);
    expect(found.strip.map(({ step }) => step)).toEqual([1]);
  });

  test("is asked for nothing that nobody wants", async () => {
    const found = await analyze(pipeline, { ...asked, only: ["strip"] });
    expect([found.selfAttention, found.similarity, found.features]).toEqual([[], [], null]);
    expect(found.strip).toHaveLength(1);
  });

  const failure = (o: Partial<AnalysisOptions>): Promise<string> =>
    analyze(pipeline, { ...asked, ...o }).then(
      () => "no error",
      (error: Error) => error.message,
    );

  test("refuses a word that is not there, and values that are too many", async () => {
    expect(await failure({ word: "pear" })).toBe(
      'word: expected a word of the prompt "a red apple", got pear [E_REQUEST]',
    );
    expect(await failure({ tapBytes: 1000 })).toMatch(
      /^analyze: expected values of at most 1 MB in a step, got \d MB in \d+ taps \[E_MEMORY\]\nAsk for a smaller picture, or for fewer analyses \(--only\)\.$/,
    );
  });
});

describe("a diffusion transformer", () => {
  let folder = "";
  let pipeline: Pipeline;
  const asked: AnalysisOptions = { prompt: "A red apple", seed: 7, steps: 2, width: 64, height: 64 };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "koala-analyze-"));
    pipeline = await Pipeline.load(writePixart(join(folder, "alpha"), "alpha"), { isOffline: true });
  });
  afterAll(async () => {
    await pipeline.dispose();
    rmSync(folder, { recursive: true });
  });

  test("is looked into by thirds of its depth", async () => {
    const found = await analyze(pipeline, { ...asked, word: "apple" });
    const stages = ["TX-1", "TX-2", "TX-3"];
    for (const maps of [found.selfAttention, found.wordAttention]) {
      expect(maps.map(({ stage }) => stage)).toEqual(stages);
      for (const { values, grid } of maps)
        expect([values.length, grid]).toEqual([16, { width: 4, height: 4 }]);
    }
    for (const { values } of found.selfAttention)
      expect(values.reduce((sum, v) => sum + v, 0)).toBeCloseTo(1, 5);
    const [curve, ...others] = found.similarity;
    expect(others).toEqual([]);
    expect(curve).toMatchObject({ stage: "TX", transformer: "transformer" });
    expect(curve?.points.map(({ position }) => position)).toEqual([0.5, 1]);
    expect(curve?.points.every(({ cosine }) => cosine > -1 && cosine < 1)).toBe(true);
    expect(found.features?.tap).toBe("transformer_blocks.1.attn1");
  });

  test("attends to its text, not to what fills it up", async () => {
    const maps = await Promise.all(
      ["a", "red", "apple", "A red apple"].map(
        async (word) => (await analyze(pipeline, { ...asked, word, only: ["attention"] })).wordAttention,
      ),
    );
    const [one = [], two = [], three = [], all = []] = maps;
    expect(all).toHaveLength(3);
    for (const [i, { values }] of all.entries())
      for (const [s, whole] of values.entries()) {
        const parts = [one, two, three].reduce((sum, map) => sum + (map[i]?.values[s] ?? 0), 0);
        expect(whole).toBeCloseTo(parts, 6);
        expect(whole).toBeGreaterThan(0.5); // the rest is that of the token that ends a text, not of a hundred more
        expect(whole).toBeLessThan(1);
      }
  });
});
