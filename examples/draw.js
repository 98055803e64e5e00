/** A picture from a prompt: node examples/draw.js "a red apple" apple.png */

import { fileURLToPath } from "node:url";
import { Pipeline } from "koala-diffusion";
import sharp from "sharp";

const [prompt = "a red apple", file = "apple.png"] = process.argv.slice(2);
const pipeline = await Pipeline.load(fileURLToPath(new URL("../models/koala-emoji", import.meta.url)));

for await (const event of pipeline.generate({ prompt, seed: 1 })) {
  if (event.type !== "image") continue;
  const { width, height, data } = event.picture; // rows of red, green, blue bytes
  await sharp(data, { raw: { width, height, channels: 3 } }).toFile(file);
  console.log(`${file}: ${width} x ${height} px, seed ${event.seed}`);
}
await pipeline.dispose();
