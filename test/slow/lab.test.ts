/** A whole study at a toy size through the command: killed in an arm's training, gone on with, read on its page. */

import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, it } from "vitest";
import { emojiModel } from "../model-folder.ts";
import { writeScorer } from "../scorer-folder.ts";

const root = resolve(import.meta.dirname, "../..");
let home = "";

const koala = (...argv: string[]): ChildProcess =>
  spawn(process.execPath, [join(root, "bin/koala.js"), ...argv], {
    cwd: home,
    stdio: ["ignore", "pipe", "pipe"],
  });
async function ended(child: ChildProcess): Promise<{ code: number | null; out: string; err: string }> {
  let [out, err] = ["", ""];
  child.stdout?.on("data", (piece) => {
    out += piece;
  });
  child.stderr?.on("data", (piece) => {
    err += piece;
  });
  const code = await new Promise<number | null>((done) => child.once("close", (c) => done(c)));
  return { code, out, err };
}

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "koala-lab-"));
  mkdirSync(join(home, "data"));
  const rows: string[] = [];
  for (let i = 0; i < 8; i++) {
    await sharp(join(emojiModel, "grid.png"))
      .extract({ left: 128 * (i % 4), top: 128 * Math.floor(i / 4), width: 128, height: 128 })
      .toFile(join(home, `data/${i}.png`));
    rows.push(
      JSON.stringify({ file_name: `${i}.png`, text: `picture number ${i}`, group: i % 2 === 0 ? "a" : "b" }),
    );
  }
  writeFileSync(join(home, "data/metadata.jsonl"), rows.join("\n"));
  writeScorer(join(home, "scorer"));
  expect((await ended(koala("init", "tiny", "teacher"))).code).toBe(0);
});
afterAll(() => rmSync(home, { recursive: true }));

it("a study that is killed within an arm goes on there, and ends with scores, verdict and page", async () => {
  const study = [
    ...["lab", "kd-layers", "--teacher", "teacher", "--data", "data", "--scorer", "scorer", "--out", "study"],
    ...["--seeds", "2", "--steps", "10", "--batch", "2", "--count", "4", "--ways", "3", "--engine", "ort"],
  ];
  const child = koala(...study);
  const end = ended(child);
  const checkpoints = join(home, "study/arms/first/seed-0/run/checkpoints");
  const isThere = (): boolean =>
    existsSync(checkpoints) && readdirSync(checkpoints).some((n) => /^step/.test(n));
  while (!isThere() && child.exitCode === null) await new Promise((done) => setTimeout(done, 10));
  child.kill("SIGKILL");
  expect((await end).code).toBe(null);
  const finished = join(home, "study/arms/none/seed-0/result.json");
  const before = statSync(finished).mtimeMs;

  const again = await ended(koala(...study));
  expect(again.err).toContain("goes on with the study that is there");
  expect(again.code).toBe(0);
  expect(statSync(finished).mtimeMs).toBe(before);
  expect(again.out).toMatch(/^layers +steps +R-precision +share of the real/);
  expect(again.out.trim().endsWith("study/report.html")).toBe(true);

  const numbers = JSON.parse(readFileSync(join(home, "study/numbers.json"), "utf8"));
  expect(numbers.arms.map(({ arm }: { arm: string }) => arm)).toEqual(["none", "first", "last"]);
  expect(numbers.results).toHaveLength(6);
  for (const { arm, trained, parameters, draws } of numbers.results) {
    expect(trained.steps).toBe(10);
    expect(Object.keys(trained.terms).includes("output"), arm).toBe(arm !== "none");
    expect(parameters).toBe(numbers.results[0].parameters);
    expect(draws[0].scores.distance).toBeGreaterThan(0);
    expect(draws[0].files).toHaveLength(4);
  }
  const page = readFileSync(join(home, "study/report.html"), "utf8");
  expect(page).toContain("interleaved: left out");
  expect(page).toContain(numbers.verdict.sentence);

  // the page's own command for the first arm's training and judging gives the same numbers
  const evaluation: string = numbers.commands.find((line: string) => line.includes("eval study/arms/first/"));
  const judged = await ended(
    koala(...evaluation.split(" ").slice(1), "--engine", "ort", "--json", "--quiet"),
  );
  const [{ rPrecision, clipScore }] = JSON.parse(judged.out).results;
  const [result] = numbers.results.filter(
    ({ arm, seed }: { arm: string; seed: number }) => arm === "first" && seed === 0,
  );
  expect(rPrecision.score.value).toBe(result.draws[0].scores.rPrecision);
  expect(clipScore.drawn.score.value).toBeCloseTo(result.draws[0].scores.clipScore, 10);
});
