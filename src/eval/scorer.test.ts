/** The scorer against transformers: test/golden/evaluation, made by scripts/oracle/g_evaluation.py. */

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fill } from "../../test/fill.ts";
import { goldenJson, goldenTensors } from "../../test/golden.ts";
import { emojiModel, readJsonFile, writeWeights } from "../../test/model-folder.ts";
import { scorerWeights, writeScorer } from "../../test/scorer-folder.ts";
import type { Picture } from "../image/pixels.ts";
import { resample } from "../image/resample.ts";
import { openFolder } from "../node/files.ts";
import { host } from "../runtime/host.ts";
import { pairedCosines, pick } from "./features.ts";
import { framed, normalised, preprocessing } from "./preprocess.ts";
import { openScorer } from "./scorer.ts";

const golden = goldenJson("evaluation/index.json");
const expected = goldenTensors("evaluation/expected.safetensors");

const pictures: Record<string, Picture> = Object.fromEntries(
  Object.entries<[number, number]>(golden.pictures).map(([name, [height, width]]) => [
    name,
    {
      width,
      height,
      data: Uint8Array.from(fill(`input.picture.${name}`, [height, width, 3]), (v) =>
        Math.floor(Math.fround(Math.fround(v + 1) * 127.5)),
      ),
    },
  ]),
);
const picture = (name: string): Picture => pictures[name] as Picture;
const all = Object.values(pictures);
const settings = goldenJson("evaluation/clip/preprocessor_config.json");
const how = preprocessing(settings, 32, "p");

let folder = "";
beforeAll(() => {
  folder = writeScorer(join(mkdtempSync(join(tmpdir(), "koala-scorer-")), "scorer"));
});
afterAll(() => rmSync(join(folder, ".."), { recursive: true }));

describe("preprocessing", () => {
  it.each(Object.keys(golden.pictures))("resizes %s as PIL does, byte for byte", (name) => {
    const { data } = resample(picture(name), 21, 64);
    expect(Array.from(data)).toEqual(Array.from(expected.get(`resized.${name}`)?.data ?? [], Number));
  });

  it("crops and normalises as transformers does, to the last bits of float32", () => {
    const ours = normalised(
      all.map((one) => framed(one, how, "crop")),
      how,
    );
    const theirs = expected.get("pixels")?.data as Float32Array;
    expect(ours.length).toBe(theirs.length);
    for (const [i, x] of theirs.entries()) expect(Math.abs((ours[i] ?? 0) - x)).toBeLessThan(1e-6);
  });

  it.each(Object.keys(golden.pictures))("pads %s to the square as HPSv2 does", (name) => {
    const { data } = framed(picture(name), how, "pad");
    expect(Array.from(data)).toEqual(Array.from(expected.get(`padded.${name}`)?.data ?? [], Number));
  });

  it.each([
    [{ do_normalize: false }, "p (do_normalize): expected true, got false [E_CONFIG]"],
    [{ resample: 2 }, "p (resample): expected 3, which is bicubic, got 2 [E_CONFIG]"],
    [{ crop_size: 64 }, "p (crop_size): expected 32, the size of the picture tower, got 64 [E_CONFIG]"],
    [
      { size: { height: 32 } },
      'p (size): expected at least 32 as the shortest edge, got {"height":32} [E_CONFIG]',
    ],
    [{ image_std: [1, 0, 1] }, "p (image_std): expected three numbers above 0, got [1,0,1] [E_CONFIG]"],
    [{ image_mean: 0.5 }, "p (image_mean): expected three numbers, got 0.5 [E_CONFIG]"],
  ])("refuses %j", (change, message) => {
    expect(() => preprocessing({ ...settings, ...change }, 32, "p")).toThrow(message);
  });
});

describe("openScorer", () => {
  const open = async (path = folder) =>
    openScorer(await openFolder(path), { engine: await host.engine("auto") });

  it("gives the vectors of transformers' CLIPModel to 1e-4 of their largest, and its cosines", async () => {
    const scorer = await open();
    const ours = { pictures: await scorer.pictures(all), texts: await scorer.texts(golden.texts) };
    for (const side of ["pictures", "texts"] as const) {
      const theirs = expected.get(side)?.data as Float32Array;
      const scale = theirs.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      expect(ours[side].count).toBe(3);
      for (const [i, x] of theirs.entries())
        expect(Math.abs((ours[side].data[i] ?? 0) - x) / scale).toBeLessThan(1e-4);
    }
    for (const [i, row] of golden.cosines.entries())
      for (const [j, cos] of row.entries())
        expect(pairedCosines(pick(ours.pictures, [i]), pick(ours.texts, [j]))[0]).toBeCloseTo(cos, 4);
    await scorer.dispose();
  });

  it("gives a vector whatever else is in the batch", async () => {
    const scorer = await open();
    const many = Array.from({ length: 20 }, (_, i) => all[i % 3] as Picture);
    const [alone, together] = [await scorer.pictures([many[19] as Picture]), await scorer.pictures(many)];
    const [first, last] = [pick(alone, [0]).data, pick(together, [19]).data];
    for (const [i, x] of first.entries()) expect(last[i]).toBeCloseTo(x, 5);
    expect((await scorer.texts([])).count).toBe(0);
    await scorer.dispose();
  });

  /** A copy of the scorer that something was done to, and what opening it says, with `bad` for the folder. */
  async function refusal(change: (copy: string) => void): Promise<string> {
    const copy = join(folder, "..", "bad");
    rmSync(copy, { recursive: true, force: true });
    cpSync(folder, copy, { recursive: true });
    change(copy);
    const error = await open(copy).catch((thrown: Error) => thrown);
    return error instanceof Error ? error.message.replaceAll(copy, "bad") : "nothing";
  }

  const edit = (copy: string, change: object) =>
    writeFileSync(
      join(copy, "config.json"),
      JSON.stringify({ ...readJsonFile(join(copy, "config.json")), ...change }),
    );
  const hint = "A scorer is a CLIPModel as transformers saves it, both towers in one folder.";

  it("says that a pipeline is no scorer", async () => {
    const error = await open(emojiModel).catch((thrown: Error) => thrown);
    expect((error as Error).message.replaceAll(emojiModel, "koala-emoji")).toBe(
      `koala-emoji: expected a CLIP to score with: config.json of a CLIPModel, got a pipeline, which draws [E_MODEL]\n${hint}`,
    );
  });

  it("says that one tower is no scorer", async () => {
    expect(await refusal((copy) => edit(copy, { architectures: ["CLIPTextModel"] }))).toBe(
      `bad/config.json: expected a CLIP to score with: architectures CLIPModel, with text_config and vision_config, got ["CLIPTextModel"] [E_MODEL]\n${hint}`,
    );
  });

  it("names the tower whose config is wrong", async () => {
    const { vision_config } = readJsonFile(join(folder, "config.json"));
    const wrong = { vision_config: { ...(vision_config as object), patch_size: 5 } };
    expect(await refusal((copy) => edit(copy, wrong))).toBe(
      "bad/config.json, vision_config (patch_size): expected a divisor of image_size, 32, got 5 [E_CONFIG]",
    );
  });

  it("names the tensor that is missing", async () => {
    const { "visual_projection.weight": _, ...rest } = scorerWeights();
    expect(await refusal((copy) => writeWeights(join(copy, "model.safetensors"), rest))).toBe(
      "bad: expected the 77 tensors that its config asks for, got 1 missing [E_WEIGHTS]\nmissing: visual_projection.weight",
    );
  });

  it("says when the tokenizer is missing", async () => {
    expect(
      await refusal((copy) => {
        for (const name of ["vocab.json", "merges.txt", "tokenizer.json"])
          rmSync(join(copy, name), { force: true });
      }),
    ).toMatch(
      /^bad: expected vocab\.json and merges\.txt, tokenizer\.json, or spiece\.model, got .* \[E_TOKENIZER\]$/,
    );
  });

  it("says when a tower gives no numbers", async () => {
    const weights = scorerWeights();
    weights["visual_projection.weight"]?.data.fill(Number.NaN as never);
    const copy = join(folder, "..", "nan");
    cpSync(folder, copy, { recursive: true });
    writeWeights(join(copy, "model.safetensors"), weights);
    const scorer = await open(copy);
    await expect(scorer.pictures([picture("same")])).rejects.toThrow(
      `${copy}: vision_model: expected vectors of finite numbers, got NaN or infinity [E_NAN]\nThe weights may be damaged.`,
    );
    await scorer.dispose();
  });
});
