/** Small training commands in the current folder, and what two runs of one are compared by. */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { expect } from "vitest";
import { goldenJson } from "./golden.ts";

/** Six square pictures with captions, four others in `aspects`, and the shapes of a VAE and of a CLIP. */
export async function writeTrainingScene(folder = "."): Promise<void> {
  mkdirSync(join(folder, "data"));
  for (const [i, background] of ["red", "green", "blue", "black", "orange", "purple"].entries()) {
    const square = await sharp({ create: { width: 9, height: 9, channels: 3, background } })
      .png()
      .toBuffer();
    const white = sharp({ create: { width: 64, height: 64, channels: 3, background: "white" } });
    const picture = white.composite([{ input: square, left: 5 * i, top: 3 * i }]);
    writeFileSync(join(folder, `data/${i}.png`), await picture.png().toBuffer());
    writeFileSync(join(folder, `data/${i}.txt`), `a ${background} square`);
  }
  mkdirSync(join(folder, "aspects"));
  for (const [i, background] of ["red", "green", "blue", "teal"].entries()) {
    const [width, height] = i < 2 ? [256, 64 + i] : [70, 270 + i];
    const picture = sharp({ create: { width, height, channels: 3, background } });
    writeFileSync(join(folder, `aspects/${i}.png`), await picture.png().toBuffer());
    writeFileSync(join(folder, `aspects/${i}.txt`), `all ${background}`);
  }
  const blocks = (kind: string): string[] => Array(2).fill(`${kind}Block2D`);
  const vae = {
    ...{ _class_name: "AutoencoderKL", in_channels: 3, out_channels: 3, latent_channels: 4, sample_size: 64 },
    ...{ down_block_types: blocks("DownEncoder"), up_block_types: blocks("UpDecoder"), layers_per_block: 1 },
    ...{ block_out_channels: [4, 8], norm_num_groups: 2, mid_block_add_attention: false },
  };
  writeFileSync(join(folder, "vae.json"), JSON.stringify(vae));
  const { config } = goldenJson("clip.json");
  const text_config = { ...config.text_config, vocab_size: 530 };
  writeFileSync(join(folder, "clip.json"), JSON.stringify({ ...config, text_config }));
}

const words = (text: string): string[] => text.split(" ");
const common = "--data data --cache cache --steps 2 --threads 1 --sample-every 0";
const square = `${common} --resolution 64 --batch 2`;
const taught = "distill --teacher model";

/** By kind of run, without --out. Those of a VAE and of CLIP need no model, and take a second. */
export const trainingCommands = {
  unet: words(`train --model model ${square} --accumulate 2`),
  lora: words(`train --model model --lora 2 ${square}`),
  buckets: words(
    "train --model model --data data aspects --cache cache --steps 4 --threads 1 --sample-every 0 --resolution 128 --batch 2 --buckets",
  ),
  distill: words(`${taught} --student koala-700m ${square}`),
  pcm: words(`${taught} --method pcm --lora 2 ${square}`),
  lcm: words(`${taught} --method lcm ${square}`),
  vae: words(`train --part vae --vae vae.json ${common} --patch 32 --batch 2`),
  clip: words(`train --part clip --clip clip.json ${common} --batch 3 --accumulate 2`),
} as const satisfies Readonly<Record<string, readonly string[]>>;

export interface Logged {
  readonly step: number;
  readonly loss: number;
  readonly terms: Readonly<Record<string, number>>;
}

export const logOf = (run: string): Logged[] =>
  readFileSync(join(run, "log.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** Of two runs of one command: the losses are the same to 10⁻⁵ of the loss, and the files have the same names. */
export function expectSameRun(one: string, two: string): void {
  const [a, b] = [logOf(one), logOf(two)];
  expect(b.map(({ step }) => step)).toEqual(a.map(({ step }) => step));
  for (const [i, { loss, terms }] of a.entries()) {
    const other = b[i] as Logged;
    const pairs = Object.entries(terms).map(([name, x]) => [name, x, other.terms[name]] as const);
    for (const [name, x, y = Number.NaN] of [["loss", loss, other.loss] as const, ...pairs]) {
      const scale = name === "psnr" ? x : loss; // dB are no part of the loss
      expect(Math.abs(x - y) / scale, `step ${i + 1}, ${name}`).toBeLessThan(1e-5);
    }
  }
  for (const folder of ["", "model", "checkpoints"])
    expect(readdirSync(join(two, folder))).toEqual(readdirSync(join(one, folder)));
}
