/** `koala distill --method pcm --lora`: the model it leaves, and the LoRA beside it on the teacher, draw the same picture. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, it } from "vitest";
import { psnr } from "../../src/image/psnr.ts";
import { readPicture } from "../../src/node/image-file.ts";
import { emojiModel } from "../model-folder.ts";

const root = resolve(import.meta.dirname, "../..");
let home = "";

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "koala-few-steps-"));
  for (let i = 0; i < 4; i++) {
    await sharp(join(emojiModel, "grid.png"))
      .extract({ left: 128 * i, top: 0, width: 128, height: 128 })
      .toFile(join(home, `${i}.png`));
    writeFileSync(join(home, `${i}.txt`), `picture number ${i}`);
  }
});
afterAll(() => rmSync(home, { recursive: true }));

function koala(...argv: string[]): void {
  const { status, stderr } = spawnSync(process.execPath, [join(root, "bin/koala.js"), ...argv, "--quiet"], {
    cwd: home,
    encoding: "utf8",
  });
  expect(status, stderr).toBe(0);
}
const draw = async (name: string, ...flags: string[]) => {
  koala("generate", "a red apple", "--seed", "5", "--output", name, ...flags);
  return readPicture(join(home, name));
};

it("koala draws the same with the merged model and with the LoRA, and another picture without", async () => {
  const teach = ["--teacher", emojiModel, "--data", ".", "--steps", "4", "--batch", "2", "--rate", "0.01"];
  koala("distill", "--method", "pcm", "--lora", "4", ...teach, "--sample-every", "0", "--out", "run");
  const index = JSON.parse(readFileSync(join(home, "run/model/model_index.json"), "utf8"));
  expect(index._koala).toEqual({ steps: 4, guidance: 1 });
  expect(index.scheduler).toEqual(["diffusers", "DDIMScheduler"]);

  const merged = await draw("merged.png", "--model", "run/model");
  // the teacher with the run's scheduler: what a LoRA's file cannot say
  const few = ["--scheduler", "ddim", "--spacing", "trailing", "--steps", "4", "--guidance", "1"];
  const lora = ["--lora", "run/model/pytorch_lora_weights.safetensors"];
  const adapted = await draw("adapted.png", "--model", emojiModel, ...few, ...lora);
  const bare = await draw("bare.png", "--model", emojiModel, ...few);
  expect(psnr(adapted, merged)).toBeGreaterThan(40); // the last step's end: α of timestep 0, or 1
  expect(psnr(bare, merged)).toBeLessThan(30);
});
