/** A picture drawn over, and the upper half of another drawn anew: node examples/draw-over.js apple.png "a green apple" */

import { fileURLToPath } from "node:url";
import { Pipeline } from "koala-diffusion";
import sharp from "sharp";

const [file = "apple.png", prompt = "a green apple"] = process.argv.slice(2);
const pipeline = await Pipeline.load(fileURLToPath(new URL("../models/koala-emoji", import.meta.url)));

const { width, height } = pipeline.sizeLike(await sharp(file).metadata());
const pixels = await sharp(file).resize(width, height).flatten().toColourspace("srgb").raw().toBuffer();
const image = { width, height, data: new Uint8Array(pixels) };
const mask = { width, height, data: new Uint8Array(pixels.length).fill(255, 0, pixels.length / 2) }; // white is drawn anew

const runs = { "over.png": [{ strength: 0.6 }, { image }], "upper.png": [{}, { image, mask }] };
for (const [name, [request, start]] of Object.entries(runs))
  for await (const event of pipeline.generate({ prompt, seed: 1, ...request }, start)) {
    if (event.type !== "image") continue;
    await sharp(event.picture.data, { raw: { width, height, channels: 3 } }).toFile(name);
    console.log(`${name}: ${width} x ${height} px`);
  }
await pipeline.dispose();
