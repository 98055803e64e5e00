/**
 * A sheet of pictures, one of each prompt, as those of the model card: all with one seed, none drawn twice and none chosen.
 *
 *   node scripts/emoji/grid.js MODEL OUT.png                      24 prompts of every kind, 8 in a row
 *   node scripts/emoji/grid.js MODEL OUT.webp PROMPTS.txt         a prompt a line, such as bench-prompts.txt
 */

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { Pipeline } from "koala-diffusion";
import sharp from "sharp";

const ofEveryKind = `red apple, grinning face with smiling eyes, cat face, dog face, rocket, pizza, strawberry,
woman health worker: dark skin tone, woman firefighter, thumbs up, sunflower, automobile, castle, fox, guitar, crying face,
umbrella, mushroom, house, rainbow, octopus, wrapped gift, crown, hot beverage`;

const [model, out, list] = process.argv.slice(2);
if (out === undefined) {
  console.error("usage: node scripts/emoji/grid.js MODEL OUT.png|webp [PROMPTS.txt]");
  process.exit(2);
}
const text = list === undefined ? ofEveryKind.replaceAll(/,\s+/g, "\n") : await readFile(list, "utf8");
const prompts = text.split("\n").filter((line) => line !== "");
const pipeline = await Pipeline.load(resolve(model));
const tiles = [];
let side = 0;
for (const prompt of prompts) {
  for await (const event of pipeline.generate({ prompt, seed: 1 })) {
    if (event.type !== "image") continue;
    const { width, height, data } = event.picture;
    side = width;
    const input = await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer();
    tiles.push({ input, left: width * (tiles.length % 8), top: height * Math.floor(tiles.length / 8) });
  }
}
await pipeline.dispose();
const size = { width: 8 * side, height: Math.ceil(tiles.length / 8) * side };
await sharp({ create: { ...size, channels: 3, background: "white" } })
  .composite(tiles)
  .toFile(out);
console.log(`${out}: ${tiles.length} pictures of ${side} px`);
