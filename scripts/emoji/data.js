/**
 * The training data of koala-emoji: Microsoft's Fluent 3D emoji (npm `@lobehub/fluent-emoji-3d`, MIT) on white, with
 * captions from `emojibase-data` (MIT).
 *
 *   node scripts/emoji/data.js OUT [--size 128]
 *
 * writes OUT/train/*.png and OUT/held-out/*.png, each with a metadata.jsonl of rows
 * `{ file_name, text, captions, tags, group, base, tones }`: one row a picture, `text` its name, `captions` all that it is
 * called (captions.js), `base` the emoji it is a variant of (to balance by), `group` its category (distractors of
 * R-precision come from the same one).
 * Held out, and listed in scripts/emoji/held-out.json: combinations whose parts are all seen elsewhere, skin tone x person
 * x profession, and colour x object.
 */

import { existsSync, readFileSync } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { captionsOf, colourOf } from "./captions.js";

const require = createRequire(import.meta.url);
const assets = join(dirname(require.resolve("@lobehub/fluent-emoji-3d/package.json")), "assets");
const emojis = JSON.parse(readFileSync(require.resolve("emojibase-data/en/data.json"), "utf8"));

/** Unicode's emoji groups, by emojibase's number. */
const groups = [
  "faces",
  "people",
  "components",
  "animals",
  "food",
  "places",
  "activities",
  "objects",
  "symbols",
  "flags",
];

/** Colours of hearts, circles, squares and books: each colour and each object is in training, these pairs are not. */
const heldPairs = ["green heart", "purple circle", "blue square", "orange book"];

/** One in this many pictures of a person at work in a skin tone is held out. */
const heldShare = 10;

/** Emoji that show letters, digits or unreadable signs: a small model would spend itself on glyphs. */
const withoutPicture = /^(keycap|input |Japanese |.* button$|regional indicator)/;

/** The asset of a code, which may be written with or without the variation selector. */
function assetOf(hexcode) {
  const code = hexcode.toLowerCase();
  const plain = code.replaceAll("-fe0f", "");
  return [code, plain, `${plain}-fe0f`].map((name) => join(assets, `${name}.webp`)).find(existsSync) ?? null;
}

/** A number from a text that does not change between runs (FNV-1a). */
function hash(text) {
  let h = 0x811c9dc5;
  for (const c of text) h = Math.imul(h ^ c.codePointAt(0), 0x01000193) >>> 0;
  return h;
}

/** Every picture with its caption and what it is a variant of. */
function entries() {
  return emojis.flatMap((emoji) => {
    if (emoji.group === undefined || withoutPicture.test(emoji.label)) return [];
    const variants = [{ ...emoji, tone: null }, ...(emoji.skins ?? [])];
    return variants.flatMap(({ hexcode, label, tone }) => {
      const asset = assetOf(hexcode);
      if (asset === null) return [];
      const tones = tone === null || tone === undefined ? null : [tone].flat();
      return [
        {
          asset,
          hexcode,
          label,
          tones,
          tags: emoji.tags ?? [],
          group: groups[emoji.group],
          base: emoji.hexcode,
        },
      ];
    });
  });
}

/** A person at work: zero-width joiner (200D) between person (1F468, 1F469, 1F9D1) and the sign of a profession. */
const isAtWork = (hexcode) => /^1F(468|469|9D1)-1F3F[B-F]-200D-(?!2764|1F91D)/.test(hexcode);

const isHeldOut = ({ hexcode, label }) =>
  heldPairs.includes(label) || (isAtWork(hexcode) && hash(hexcode) % heldShare === 0);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { size: { type: "string", default: "128" } },
});
const out = positionals[0];
const size = Number(values.size);
if (out === undefined || !Number.isInteger(size) || size < 8) {
  console.error("usage: node scripts/emoji/data.js OUT [--size PX]");
  process.exit(2);
}
const partial = `${out}.partial`;
await rm(partial, { recursive: true, force: true });
const lists = { train: [], "held-out": [] };
for (const folder of Object.keys(lists)) await mkdir(join(partial, folder), { recursive: true });
for (const entry of entries()) {
  const folder = isHeldOut(entry) ? "held-out" : "train";
  const name = `${entry.hexcode.toLowerCase()}.png`;
  const picture = sharp(entry.asset)
    .resize(size, size, { fit: "contain", background: "#fff0", kernel: "lanczos3" })
    .flatten({ background: "#fff" });
  await picture
    .clone()
    .png()
    .toFile(join(partial, folder, name));
  const { label, tags, group, base, tones, hexcode } = entry;
  const colour = colourOf(await picture.removeAlpha().toColourspace("srgb").raw().toBuffer());
  let picks = 0;
  const captions = captionsOf({ label, tags, group, colour }, (n) => hash(`${hexcode} ${picks++}`) % n);
  lists[folder].push({ file_name: name, text: label, captions, tags, group, base, tones });
}
for (const [folder, rows] of Object.entries(lists))
  await writeFile(
    join(partial, folder, "metadata.jsonl"),
    `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`,
  );
await rm(out, { recursive: true, force: true });
await rename(partial, out);
await writeFile(
  new URL("held-out.json", import.meta.url),
  `${JSON.stringify(lists["held-out"].map(({ text }) => text).sort(), null, 2)}\n`,
);
console.log(`${lists.train.length} pictures to train on, ${lists["held-out"].length} held out, in ${out}`);
