/** `koala lab`: what is listed, and what is refused before anything is timed. */

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { inEmptyFolders, type Ran, run } from "../../../../test/fake-world.ts";
import { writeFamily } from "../../../../test/model-folder.ts";
import { studyNames } from "../../lab/study.ts";
import { realWorld } from "../world.ts";
import { budgetOf } from "./lab.ts";

inEmptyFolders();

const lab = (...argv: string[]): Promise<Ran> =>
  run(["lab", ...argv], { world: { openModel: realWorld.openModel } });

describe("koala lab", () => {
  it("--list names every study with its question and its place in the paper", async () => {
    const { code, out } = await lab("--list");
    expect(code).toBe(0);
    for (const name of studyNames)
      expect(out).toMatch(new RegExp(`^${name}\\n  .*\\?\\n  In the paper: `, "m"));
  });

  it.each([
    [
      ["kd-fetures"],
      'STUDY: expected one of kd-features, kd-layers, bk-vs-koala, data, teacher, pcm, dit-kd, got "kd-fetures" [E_FLAG]\nDid you mean kd-features?',
    ],
    [
      [],
      "STUDY: expected one of kd-features, kd-layers, bk-vs-koala, data, teacher, pcm, dit-kd, got nothing [E_FLAG]\nkoala lab --list tells what each asks.",
    ],
    [
      ["pcm", "--out", "o"],
      "--data: expected captions with pictures, got nothing, and there is no emoji-data here [E_FLAG]\nnode scripts/emoji/data.js emoji-data makes koala-emoji's.",
    ],
    [
      ["pcm", "--data", "d"],
      "--out: expected a folder for the study, got nothing [E_FLAG]\nkoala lab --help lists what it takes.",
    ],
    [
      ["pcm", "--data", "d", "--out", "o", "--budget", "soon"],
      '--budget: expected a time such as 90s, 20m or 1h30m, got "soon" [E_FLAG]',
    ],
    [
      ["pcm", "--data", "d", "--out", "o", "--seeds", "0"],
      '--seeds: expected a whole number from 1 to 100, got "0" [E_FLAG]',
    ],
    [
      ["pcm", "--data", "d", "--out", "o", "--optimizer", "moun"],
      '--optimizer: expected one of adamw, adam16bit, adam8bit, adafactor, muon, sgd, got "moun" [E_FLAG]\nDid you mean muon?',
    ],
    [
      ["pcm", "--data", "d", "--out", "o", "--precision", "f16"],
      '--precision: expected one of f32, bf16, got "f16" [E_FLAG]\nDid you mean bf16?',
    ],
  ])("%j", async (argv, sentence) => {
    const { code, err } = await lab(...argv);
    expect([code, err]).toEqual([2, `${sentence}\n`]);
  });

  it("a teacher of another kind than the study is about is refused", async () => {
    writeFamily("unet", "koala-700m");
    const dit = await lab("dit-kd", "--teacher", "unet", "--data", "d", "--out", "o");
    expect([dit.code, dit.err]).toEqual([
      2,
      "dit-kd, unet: expected a teacher with a transformer, in PixArt's layout, got one with a U-Net [E_MODEL]\nName another one with --teacher.\n",
    ]);
    const dataless = await lab("pcm", "--teacher", "unet", "--data", "d", "--out", "o");
    expect([dataless.err, existsSync("o")]).toEqual([
      "--data: expected captions with pictures, got d, where there is nothing [E_FLAG]\n",
      false,
    ]);
    mkdirSync("empty");
    writeFileSync("empty/model_index.json", "{}");
    const none = await lab("pcm", "--teacher", "empty", "--data", "d", "--out", "o");
    expect(none.err).toBe(
      "empty: expected a teacher: a diffusers folder with a U-Net or a transformer, got one without either [E_MODEL]\n",
    );
  });
});

it("a budget is hours, minutes and seconds", () => {
  expect(budgetOf("20m")).toBe(1200);
  expect(budgetOf("1h30m")).toBe(5400);
  expect(budgetOf("0.5h10s")).toBe(1810);
  expect(() => budgetOf("20")).toThrow(
    '--budget: expected a time such as 90s, 20m or 1h30m, got "20" [E_FLAG]',
  );
});
