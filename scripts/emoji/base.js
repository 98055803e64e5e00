/**
 * A model folder to train the U-Net in: the autoencoder and the encoders that were trained, and the scheduler.
 *
 *   node scripts/emoji/base.js VAE ENCODERS OUT
 *
 * VAE is the run's model folder, ENCODERS what encoders.js has made. The U-Net is that of models/koala-emoji, which only
 * holds its place: `koala train scripts/emoji/teacher.yaml --model OUT` begins with another.
 */

import { cp, mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";

const [vae, encoders, out] = process.argv.slice(2);
if (out === undefined) {
  console.error("usage: node scripts/emoji/base.js VAE ENCODERS OUT");
  process.exit(2);
}
const shipped = resolve(import.meta.dirname, "../../models/koala-emoji");
await mkdir(out, { recursive: true });
for (const name of ["model_index.json", "scheduler", "unet"])
  await cp(join(shipped, name), join(out, name), { recursive: true });
await cp(vae, join(out, "vae"), { recursive: true });
for (const name of ["text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"])
  await cp(join(encoders, name), join(out, name), { recursive: true });
