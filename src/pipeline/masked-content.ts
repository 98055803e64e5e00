/**
 * What stands under a mask before noise is added. Source: `inpainting_fill` in modules/processing.py of
 * AUTOMATIC1111/stable-diffusion-webui (`StableDiffusionProcessingImg2Img.init`), whose "latent noise" is what it adds afterwards too:
 * the first of the picture's seed.
 */

import type { MaskedContent } from "./request.ts";

/**
 * Latents [L, h, w] flat with the content where `isDrawn`; `noise` is that which is added. `fill` is in them already: it is of the
 * picture that was encoded.
 */
export function contentLatents(
  content: MaskedContent,
  latents: Float32Array,
  noise: Float32Array,
  isDrawn: (i: number) => boolean,
): Float32Array {
  if (content === "original" || content === "fill") return latents;
  return latents.map((v, i) => (isDrawn(i) ? (content === "noise" ? (noise[i] ?? 0) : 0) : v));
}
