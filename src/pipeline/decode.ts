/** Latents to pixels, whole or in stripes. */

import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { decodeInStripes } from "./decode-stripes.ts";
import type { VaePart } from "./parts.ts";
import { runHalf, type VaeRun } from "./vae-half.ts";

/**
 * `latents` [1, L, h, w] as the denoiser sees them → pixels [1, 3, H, W] in −1 to 1.
 * @throws KoalaError E_NAN, E_ENGINE
 */
export function decodeLatents(vae: VaePart, latents: Tensor, o: VaeRun): Promise<Tensor> {
  const [batch = 1, , height = 1, width = 1] = latents.shape;
  const unscaled = toFloat32(latents).map((v) => v / vae.scalingFactor + vae.shiftFactor);
  const { outputs } = vae.decoder({ batch, height, width });
  const decoder = { outputs, reads: "latents", gives: "picture", inStripes: decodeInStripes };
  return runHalf(vae, decoder, float32(latents.shape, unscaled), o);
}
