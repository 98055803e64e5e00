/**
 * A model folder to train the U-Net in: the autoencoder and the encoders that were trained, and the scheduler.
 *
 *   node scripts/emoji/base.js VAE ENCODERS OUT          for teacher-64.yaml, which begins with a U-Net of its own
 *   node scripts/emoji/base.js VAE ENCODERS OUT UNET     for teacher-128.yaml, which goes on with this one
 *
 * VAE is a run's model folder, ENCODERS what encoders.js has made, UNET the `unet` of a run's model folder.
 */

import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { betas } from "./betas.js";

const [vae, encoders, out, unet] = process.argv.slice(2);
if (out === undefined) {
  console.error("usage: node scripts/emoji/base.js VAE ENCODERS OUT [UNET]");
  process.exit(2);
}
const shipped = resolve(import.meta.dirname, "../../models/koala-emoji");
await mkdir(join(out, "scheduler"), { recursive: true });
const scheduler = JSON.parse(await readFile(join(shipped, "scheduler/scheduler_config.json"), "utf8"));
Object.assign(scheduler, betas(unet === undefined ? 64 : 128));
await writeFile(join(out, "scheduler/scheduler_config.json"), `${JSON.stringify(scheduler, null, 2)}\n`);
await cp(join(shipped, "model_index.json"), join(out, "model_index.json"));
await cp(unet ?? join(shipped, "unet"), join(out, "unet"), { recursive: true }); // the shipped one only holds its place
await cp(vae, join(out, "vae"), { recursive: true });
for (const name of ["text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"])
  await cp(join(encoders, name), join(out, name), { recursive: true });
