/**
 * The text encoders and tokenizers of koala-emoji out of the runs that trained them, as a pipeline of diffusers has them:
 *
 *   node scripts/emoji/encoders.js RUN RUN_2 OUT
 *
 * writes OUT/text_encoder and OUT/tokenizer from the first run, OUT/text_encoder_2 and OUT/tokenizer_2 from the second. The
 * first encoder leaves its projection behind, which nothing reads: it is a `CLIPTextModel`, as SDXL's.
 */

import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** The bytes of a safetensors file without one tensor: eight for the header's length, the header, then all data. */
function without(file, name) {
  const length = Number(file.readBigUInt64LE());
  const { __metadata__, ...tensors } = JSON.parse(file.toString("utf8", 8, 8 + length));
  const header = { __metadata__ };
  const parts = [];
  let end = 0;
  for (const [key, { data_offsets: at, ...tensor }] of Object.entries(tensors)) {
    if (key === name) continue;
    const bytes = file.subarray(8 + length + at[0], 8 + length + at[1]);
    header[key] = { ...tensor, data_offsets: [end, end + bytes.length] };
    parts.push(bytes);
    end += bytes.length;
  }
  // spaces to a multiple of eight, so that data is aligned
  const text = JSON.stringify(header);
  const head = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(head.length));
  return Buffer.concat([size, head, ...parts]);
}

const [first, second, out] = process.argv.slice(2);
if (out === undefined) {
  console.error("usage: node scripts/emoji/encoders.js RUN RUN_2 OUT");
  process.exit(2);
}
await mkdir(join(out, "text_encoder"), { recursive: true });
const from = join(first, "model", "text_encoder");
const config = JSON.parse(await readFile(join(from, "config.json"), "utf8"));
await writeFile(
  join(out, "text_encoder", "config.json"),
  `${JSON.stringify({ ...config, architectures: ["CLIPTextModel"] }, null, 2)}\n`,
);
await writeFile(
  join(out, "text_encoder", "model.safetensors"),
  without(await readFile(join(from, "model.safetensors")), "text_projection.weight"),
);
const copies = [
  [first, "tokenizer", "tokenizer"],
  [second, "tokenizer", "tokenizer_2"],
  [second, "text_encoder", "text_encoder_2"],
];
for (const [run, name, as] of copies) await cp(join(run, "model", name), join(out, as), { recursive: true });
