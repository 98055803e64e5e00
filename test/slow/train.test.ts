/** A training process that is killed, and goes on bit for bit: the emoji model learns from pictures that it drew before. */

import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, it } from "vitest";
import { emojiModel } from "../model-folder.ts";

const root = resolve(import.meta.dirname, "../..");
let home = "";

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "koala-train-"));
  for (let i = 0; i < 8; i++) {
    const place = { left: 128 * (i % 4), top: 128 * Math.floor(i / 4), width: 128, height: 128 };
    await sharp(join(emojiModel, "grid.png"))
      .extract(place)
      .toFile(join(home, `${i}.png`));
    writeFileSync(join(home, `${i}.txt`), `picture number ${i}`);
  }
});
afterAll(() => rmSync(home, { recursive: true }));

const koala = (...argv: string[]): ChildProcess =>
  spawn(process.execPath, [join(root, "bin/koala.js"), ...argv, "--quiet"], { cwd: home, stdio: "ignore" });
const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((done) => child.once("exit", (code) => done(code)));

const flags = [
  ...["--model", emojiModel, "--data", ".", "--cache", "cache", "--steps", "4", "--batch", "4"],
  ...["--checkpoint-every", "2", "--sample-every", "0", "--keep", "4"],
];

it("four steps are two, a kill, and two more", async () => {
  expect(await ended(koala("train", ...flags, "--out", "whole"))).toBe(0);

  const child = koala("train", ...flags, "--out", "killed");
  const end = ended(child);
  while (!existsSync(join(home, "killed/checkpoints/step-00000002.safetensors")) && child.exitCode === null)
    await new Promise((done) => setTimeout(done, 20));
  child.kill("SIGKILL");
  await end;
  // whatever the kill left besides: that of the second step is what counts
  rmSync(join(home, "killed/checkpoints/step-00000004.safetensors"), { force: true });
  cpSync(join(home, "killed"), join(home, "copy"), { recursive: true });

  expect(await ended(koala("resume", "killed"))).toBe(0);
  for (const file of [
    "checkpoints/step-00000004.safetensors",
    "model/unet/diffusion_pytorch_model.safetensors",
  ])
    expect(
      readFileSync(join(home, "killed", file)).equals(readFileSync(join(home, "whole", file))),
      file,
    ).toBe(true);

  // the folder is all that a run is: a copy of it goes on too
  expect(await ended(koala("resume", "copy"))).toBe(0);
  const losses = (run: string): unknown[] =>
    readFileSync(join(home, run, "log.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
      .map(({ step, loss, gradientNorm }) => [step, loss, gradientNorm]);
  expect(losses("killed")).toEqual(losses("whole"));
  expect(losses("copy")).toEqual(losses("whole"));
});
