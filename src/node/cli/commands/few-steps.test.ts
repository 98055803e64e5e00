/** `koala distill --method pcm|lcm`: what is refused before a run begins. */

import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { inEmptyFolders, run } from "../../../../test/fake-world.ts";
import { writeFamily } from "../../../../test/model-folder.ts";
import { host } from "../../../runtime/host.ts";
import type { World } from "../world.ts";

inEmptyFolders();
const world: Partial<World> = { openModel: (location, o) => host.openModel(location, o) };
const distill = async (...flags: string[]): Promise<string> => {
  const { code, err } = await run(["distill", "--data", "data", "--out", "run", ...flags], { world });
  expect(code).toBe(2);
  return err.trim();
};
const pcm = ["--method", "pcm", "--teacher", "model", "--resolution", "64"];
const lcm = ["--method", "lcm", "--teacher", "model", "--resolution", "64"];

describe("koala distill --method", () => {
  it.each([
    [["--method", "pmc"], '--method: expected one of sa, pcm, lcm, got "pmc" [E_CONFIG]\nDid you mean pcm?'],
    [
      ["--method", "pcm"],
      "--teacher: expected a text: model folder or hub id to learn from, got nothing [E_CONFIG]",
    ],
    [[...pcm, "--lora", "0"], "--lora: expected a whole number from 1 to 1024, got 0 [E_CONFIG]"],
    [[...pcm, "--lora", "2000"], "--lora: expected a whole number from 1 to 1024, got 2000 [E_CONFIG]"],
    [
      [...pcm, "--features", "SA"],
      "features: expected a field of a run of kind consistency, got an unknown name [E_CONFIG]",
    ],
  ])("%j", async (flags, sentence) => {
    expect((await distill(...flags)).startsWith(sentence)).toBe(true);
  });

  it.each([
    [
      [...pcm, "--lora", "4", "--lora-targets", "atention"],
      'loraTargets: expected some of attention, feedforward, projection, resnet, sampler, got "atention" [E_CONFIG]\nDid you mean attention?',
    ],
    [[...pcm, "--guidance-from", "9"], "guidanceFrom: expected at most guidanceTo, 8, got 9 [E_CONFIG]"],
    [
      [...lcm, "--adversarial-weight", "0.1"],
      "adversarialWeight: expected 0 with lcm, which has no phases for an adversary to look at, got 0.1 [E_CONFIG]",
    ],
    [
      [...pcm, "--guidance-input"],
      "guidanceInput: expected lcm on whole weights, whose U-Net gets a layer for the guidance, got pcm [E_CONFIG]",
    ],
    [
      [...lcm, "--guidance-input", "--lora", "4"],
      "guidanceInput: expected lcm on whole weights, whose U-Net gets a layer for the guidance, got a LoRA [E_CONFIG]",
    ],
    [
      [...pcm, "--phases", "3"],
      "phases: expected equal parts of the teacher's 1000 steps: 1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500 or 1000, got 3 [E_CONFIG]",
    ],
    [
      [...pcm, "--grid", "50", "--phases", "20"],
      "grid: expected equal steps through the teacher's 1000 that 20 phases share evenly: 20, 40, 100, 200, 500 or 1000, got 50 [E_CONFIG]",
    ],
    [[...pcm, "--phases", "41"], "phases: expected at most 40, the steps of the grid, got 41 [E_CONFIG]"],
  ])("%j", async (flags, sentence) => {
    writeFamily("model", "koala-700m");
    expect(await distill(...flags)).toBe(sentence);
  });

  it("a student whose latents are others", async () => {
    writeFamily("model", "koala-700m");
    writeFamily("other", "koala-700m");
    const path = "other/unet/config.json";
    const config = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify({ ...config, addition_time_embed_dim: 8 }));
    expect(await distill(...pcm, "--student", "nothing-like-it/here")).toMatch(
      /^nothing-like-it\/here: expected/,
    );
  });
});
