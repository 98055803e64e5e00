/** A run over several sizes of pictures: what it says of them, and that it goes on bit for bit. */

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { writeFamily } from "../model-folder.ts";
import { logOf, trainingCommands, writeTrainingScene } from "../training-scene.ts";

const root = join(import.meta.dirname, "../..");
let home = "";
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "koala-buckets-"));
  await writeTrainingScene(home);
  writeFamily(join(home, "model"), "koala-1b");
});
afterAll(() => rmSync(home, { recursive: true }));

const koala = (...argv: readonly string[]): Promise<{ code: number | null; err: string }> =>
  new Promise((done) => {
    const child = spawn(process.execPath, [join(root, "bin/koala.js"), ...argv], { cwd: home });
    let err = "";
    child.stderr.on("data", (chunk) => {
      err += chunk;
    });
    child.once("close", (code) => done({ code, err }));
  });

it("says how the sizes are filled, and goes on bit for bit with fewer programs in memory", async () => {
  const flags = [...trainingCommands.buckets, "--checkpoint-every", "1", "--keep", "9", "--batch", "3"];
  const { code, err } = await koala(...flags, "--out", "a", "--bucket-programs", "1");
  expect(err).toContain("3 sizes: 6 of 128x128, 2 of 256x64, 2 of 64x256\n");
  expect(err).toContain(
    "warning: sizes with fewer pictures than a batch of 3, which then has some of them more than once: 256x64, 64x256\n",
  );
  expect(code).toBe(0);
  const path = (step: number): string => join(home, `a/checkpoints/step-0000000${step}.safetensors`);
  const [end, log] = [readFileSync(path(4)), logOf(join(home, "a"))];
  for (const step of [3, 4]) rmSync(path(step));
  expect((await koala("resume", "a")).err).toContain("goes on after step 2\n");
  expect(readFileSync(path(4)).equals(end)).toBe(true);
  expect(logOf(join(home, "a")).map(({ loss }) => loss)).toEqual(log.map(({ loss }) => loss));

  const odd = await koala(...flags, "--out", "b", "--resolution", "96");
  expect(odd.err).toContain("resolution: expected a multiple of 64 px, got 96 [E_CONFIG]\n");
  const vae = await koala(...trainingCommands.vae, "--buckets", "--out", "b");
  expect(vae.err).toContain(
    "buckets: expected a field of a run of kind vae, got an unknown name [E_CONFIG]\n",
  );
});
