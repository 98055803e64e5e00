/**
 * A PixArt folder to train the emoji transformer in:
 *
 *   node scripts/emoji/dit-base.js VAE DATA OUT                  for dit-64.yaml, which begins with random weights
 *   node scripts/emoji/dit-base.js VAE DATA OUT TRANSFORMER      for dit-128.yaml, which goes on with these
 *
 * VAE is the model folder of the autoencoder's run, DATA what data.js has made, TRANSFORMER the `transformer` of a run's
 * model folder. The tokenizer knows the words of the captions. T5 (t5.json) has random weights and is never trained: with some thousand words its states are vectors that
 * stand nearly at right angles, one a word and place, and the transformer's own projection of the text learns what each
 * means. The noise is that of the other emoji models: base.js says how much at which size.
 */

import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildDit, buildT5, ditConfig, pixartFiles, pixartPresets, t5Config } from "koala-diffusion/models";
import { freshStore } from "koala-diffusion/train";
import { betas } from "./betas.js";

/** Times that a word must stand in the captions to be a token of its own; others are spelt. */
const LEAST = 3;
const here = (name) => join(import.meta.dirname, name);
const readJson = async (path) => JSON.parse(await readFile(path, "utf8"));
const text = (value) => `${JSON.stringify(value, null, 2)}\n`;

/** `tokenizer.json` of T5's kind: padding 0, end 1, unknown 2, then words, then the letters that spell the rest. */
async function wordTokenizer(data) {
  const lines = (await readFile(join(data, "train", "metadata.jsonl"), "utf8")).trim().split("\n");
  const captions = new Set(lines.flatMap((line) => JSON.parse(line).captions));
  const counts = new Map();
  for (const caption of captions)
    for (const word of caption.toLowerCase().match(/[\p{L}\p{N}][\p{L}\p{N}’'-]*/gu) ?? [])
      counts.set(word, (counts.get(word) ?? 0) + 1);
  const words = [...counts].filter(([, count]) => count >= LEAST).sort(([, a], [, b]) => b - a);
  const total = words.reduce((sum, [, count]) => sum + count, 0);
  const letters = [...new Set([...captions].join("").toLowerCase().replace(/\s/g, ""))].sort();
  const specials = ["<pad>", "</s>", "<unk>"];
  const vocab = [
    ...specials.map((piece) => [piece, 0]),
    ...words.map(([word, count]) => [`▁${word}`, Math.log(count / total)]),
    // dearer than any word, so that a word that is known is never spelt
    ...["▁", ...letters].map((piece) => [piece, -20]),
  ];
  const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true };
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const ended = (id) => [{ Sequence: { id, type_id: 0 } }, { SpecialToken: { id: "</s>", type_id: 0 } }];
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, id) => ({ id, content, ...flags })),
    normalizer: null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "WhitespaceSplit" }, metaspace] },
    post_processor: {
      type: "TemplateProcessing",
      single: ended("A"),
      pair: [...ended("A"), ...ended("B")],
      special_tokens: { "</s>": { id: "</s>", ids: [1], tokens: ["</s>"] } },
    },
    decoder: metaspace,
    model: { type: "Unigram", unk_id: 2, byte_fallback: false, vocab },
  };
}

/** A safetensors file of a network's random weights. */
async function freshWeights({ parameters }, seed) {
  const store = freshStore(parameters, seed);
  const header = { __metadata__: { format: "pt" } };
  const parts = [];
  let end = 0;
  for (const name of parameters.keys()) {
    const { shape, data } = await store.read(name);
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    header[name] = { dtype: "F32", shape, data_offsets: [end, end + bytes.length] };
    parts.push(bytes);
    end += bytes.length;
  }
  // spaces to a multiple of eight, so that data is aligned
  const json = Buffer.from(JSON.stringify(header));
  const head = Buffer.concat([json, Buffer.alloc(-json.length & 7, " ")]);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(head.length));
  return Buffer.concat([size, head, ...parts]);
}

const [vae, data, out, trained] = process.argv.slice(2);
if (out === undefined) {
  console.error("usage: node scripts/emoji/dit-base.js VAE DATA OUT [TRANSFORMER]");
  process.exit(2);
}
const tokenizer = await wordTokenizer(data);
const transformer = await readJson(here("dit.json"));
const preset = pixartPresets["pixart-tiny"];
const files = pixartFiles({
  ...{ ...preset, pipeline: "PixArtAlphaPipeline", hub: null, transformer },
  textEncoder: { ...(await readJson(here("t5.json"))), vocab_size: tokenizer.model.vocab.length },
  vae: await readJson(join(vae, "config.json")),
  scheduler: {
    ...preset.scheduler,
    beta_schedule: "scaled_linear",
    ...betas(trained === undefined ? 64 : 128),
  },
});
for (const [path, value] of Object.entries(files)) {
  await mkdir(join(out, path, ".."), { recursive: true });
  await writeFile(join(out, path), text(value));
}
await writeFile(join(out, "tokenizer", "tokenizer.json"), JSON.stringify(tokenizer));
await cp(vae, join(out, "vae"), { recursive: true });

const dit = buildDit(ditConfig(transformer), { batch: 1, height: 32, width: 32, tokens: 120 });
const t5 = buildT5(t5Config(files["text_encoder/config.json"]), { batch: 1, tokens: 120 });
if (trained === undefined)
  await writeFile(
    join(out, "transformer", "diffusion_pytorch_model.safetensors"),
    await freshWeights(dit, 1),
  );
else await cp(trained, join(out, "transformer"), { recursive: true });
await writeFile(join(out, "text_encoder", "model.safetensors"), await freshWeights(t5, 2));
