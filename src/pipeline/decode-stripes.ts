/** The VAE's decoder run pass by pass over stripes of rows. */

import type { Program } from "../engine/program.ts";
import { buildDecoderMiddle, decoderPasses, type StripePass } from "../models/vae-stripes.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";
import {
  checkStripes,
  type FeatureMap,
  feeder,
  type Maps,
  place,
  runPasses,
  type StripeOptions,
  split,
  using,
  usingPass,
} from "./stripes.ts";

/**
 * `latents` [1, L, h, w] in the VAE's own scale → pixels [1, 3, H, W] in −1 to 1.
 * @throws KoalaError E_GRAPH for a number of stripes that does not divide h, E_ENGINE
 */
export async function decodeInStripes(latents: Tensor, o: StripeOptions): Promise<Tensor> {
  const [, , height = 1, width = 1] = latents.shape;
  checkStripes(height, o.stripes);
  const maps: Maps = { x: await middleMap(latents, height, width, o) };
  const { passes, last } = decoderPasses(o.config);
  await runPasses(passes, maps, o);
  return usingPass(last, maps, o, (program) => runLast(last, program, maps, o));
}

/** The middle of the decoder is small, and attends over all of its cells: it is computed whole. */
function middleMap(latents: Tensor, height: number, width: number, o: StripeOptions): Promise<FeatureMap> {
  return using("decoder.mid_block", buildDecoderMiddle(o.config, height, width), o, async (program) => {
    const { map, groupMeans, groupVariances } = await program.run({ latents });
    return {
      ...split(map as Tensor, o.stripes),
      mean: Float64Array.from((groupMeans as Tensor).data as Float32Array),
      variance: Float64Array.from((groupVariances as Tensor).data as Float32Array),
    };
  });
}

async function runLast(pass: StripePass, program: Program, maps: Maps, o: StripeOptions): Promise<Tensor> {
  const { rows, width } = maps.x as FeatureMap;
  const height = rows * o.stripes;
  const pixels = new Float32Array(pass.channels * height * width);
  const feedsOf = feeder(pass, maps, o.stripes);
  for (let i = 0; i < o.stripes; i++) {
    o.signal?.throwIfAborted();
    const { picture } = await program.run(feedsOf(i));
    place((picture as Tensor).data as Float32Array<ArrayBuffer>, i, pixels, pass.channels);
  }
  return float32([1, pass.channels, height, width], pixels);
}
