/** The emoji model in 8 and in 4 bits, on pictures: docs/quantization.md has the same over 64 prompts. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Picture } from "../../src/image/pixels.ts";
import { psnr } from "../../src/image/psnr.ts";
import { realWorld } from "../../src/node/cli/world.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { run } from "../fake-world.ts";
import { emojiModel } from "../model-folder.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-quantize-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const things = ["apple", "cat face", "car", "house"];
const prompts = ["red", "blue", "green", "yellow"].flatMap((c) => things.map((thing) => `a ${c} ${thing}`));

/** A picture of each prompt, its number the seed. */
async function pictures(model: string): Promise<Picture[]> {
  const pipeline = await Pipeline.load(model, { engine: "ort" });
  const all: Picture[] = [];
  for (const [seed, prompt] of prompts.entries())
    for await (const event of pipeline.generate({ prompt, seed }))
      if (event.type === "image") all.push(event.picture);
  await pipeline.dispose();
  return all;
}

it.each([
  ["int8", 25, 0.9], // the project's own target; 0.9 of the arithmetic in integers
  ["int4", 19, 0],
] as const)("%s draws what floats draw", async (format, leastPsnr, leastShare) => {
  const out = join(folder, format);
  const { load, openModel } = realWorld;
  const { code, err } = await run(["quantize", emojiModel, out, "--to", format, "--quiet"], {
    world: { load, openModel },
  });
  expect([code, err]).toEqual([0, ""]);
  const report = JSON.parse(readFileSync(join(out, "koala_quantization.json"), "utf8"));
  expect(report.integerShare).toBeGreaterThanOrEqual(leastShare);
  const [ours, floats] = [await pictures(out), await pictures(emojiModel)];
  const each = ours.map((picture, i) => psnr(picture, floats[i] as Picture));
  expect(each.reduce((a, b) => a + b, 0) / each.length).toBeGreaterThanOrEqual(leastPsnr);
});
