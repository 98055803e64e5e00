/** The VAE's encoder run pass by pass over stripes of rows. */

import { vaeFactor } from "../models/vae.ts";
import { buildEncoderEnd, encoderPasses } from "../models/vae-stripes.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  checkStripes,
  type FeatureMap,
  type Maps,
  place,
  runPasses,
  type StripeOptions,
  split,
  using,
} from "./stripes.ts";

/**
 * `picture` float32 [1, 3, H, W] in −1 to 1 → mean and log-variance of its latents [1, 2·L, h, w], in the VAE's own scale.
 * @throws KoalaError E_GRAPH for a number of stripes that does not divide h, E_ENGINE
 */
export async function encodeInStripes(picture: Tensor, o: StripeOptions): Promise<Tensor> {
  const factor = vaeFactor(o.config);
  const [, , height = factor] = picture.shape;
  checkStripes(height / factor, o.stripes);
  const none = new Float64Array(0);
  const maps: Maps = { x: { ...split(picture, o.stripes), mean: none, variance: none } };
  await runPasses(encoderPasses(o.config), maps, o);
  return end(maps.x as FeatureMap, o);
}

/** The end of the encoder is small, and attends over all of its cells: it is computed whole. */
async function end({ channels, rows, width, stripes }: FeatureMap, o: StripeOptions): Promise<Tensor> {
  const height = rows * stripes.length;
  const data = new Uint16Array(channels * height * width);
  for (const [i, stripe] of stripes.entries()) place(stripe, i, data, channels);
  const x: Tensor = { dtype: "float16", shape: [1, channels, height, width], data };
  return using("encoder.mid_block", buildEncoderEnd(o.config, height, width), o, async (program) => {
    const { moments } = await program.run({ x });
    return moments as Tensor;
  });
}
