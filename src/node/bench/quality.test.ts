import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { promptsFrom, qualityChart, qualityTable, usualPrompts } from "./quality.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-bench-quality-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("the quality of integers", () => {
  it("is asked of 64 different prompts, or those of a file", async () => {
    expect(new Set(usualPrompts).size).toBe(64);
    expect((await promptsFrom(undefined, 3)).length).toBe(3);
    const file = join(folder, "prompts.txt");
    writeFileSync(file, "a cat\n\n  a dog \n");
    expect(await promptsFrom(file, undefined)).toEqual(["a cat", "a dog"]);
  });

  it("refuses a file that is not there, one that says too little, and a count beyond it", async () => {
    const one = join(folder, "one.txt");
    writeFileSync(one, "a cat\n");
    await expect(promptsFrom(join(folder, "none"), undefined)).rejects.toThrow(
      `--prompts: expected a text file of prompts, one a line, got ${join(folder, "none")} [E_FLAG]\nThere is no such file, or it may not be read.`,
    );
    await expect(promptsFrom(one, undefined)).rejects.toThrow(
      `--prompts ${one}: expected at least 2 prompts, one a line, got 1 [E_FLAG]`,
    );
    await expect(promptsFrom(undefined, 65)).rejects.toThrow(
      "--count: expected at most 64, the prompts that there are, got 65 [E_FLAG]",
    );
  });

  it("is a table that says what the floats get themselves", async () => {
    const estimate = (value: number) => ({ value, low: value - 0.1, high: value + 0.1 });
    const quality = {
      ...{ prompts: 64, ways: 32, scorer: "scorer" },
      rows: [
        {
          ...{ model: "int8", meanPsnr: 30.71, psnr: { median: 31, least: 20.8, most: 40, count: 64 } },
          ...{ rPrecision: estimate(0.6), gain: estimate(-0.01) },
        },
        { model: "floats", meanPsnr: null, psnr: null, rPrecision: estimate(0.61), gain: null },
      ],
    };
    expect(qualityTable(quality).rows).toEqual([
      ["", "mean PSNR, dB", "middle", "least", "most", "R-precision, 32-way", "over the floats"],
      ["int8", "30.7", "31.0", "20.8", "40.0", "0.600 (0.500 to 0.700)", "-0.010 (-0.110 to 0.090)"],
      ["floats", "", "", "", "", "0.610 (0.510 to 0.710)", ""],
    ]);
    expect(await qualityChart(quality)).toContain(">int8<");
  });
});
