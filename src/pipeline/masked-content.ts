/**
 * What stands under a mask before noise is added. Source: `inpainting_fill` in modules/processing.py of
 * AUTOMATIC1111/stable-diffusion-webui (`StableDiffusionProcessingImg2Img.init`), whose "latent noise" is what it adds afterwards too:
 * the first of the picture's seed.
 */

import { fillMasked } from "../image/fill-masked.ts";
import type { Picture } from "../image/pixels.ts";
import type { MaskedContent } from "./request.ts";

/** The picture that the VAE encodes, of one size with its mask. */
export const contentPicture = (content: MaskedContent, image: Picture, mask: Picture): Picture =>
  content === "fill" ? fillMasked(image, mask) : image;

/** Latents [L, h, w] flat with the content where `isDrawn`; `noise` is that which is added. */
export function contentLatents(
  content: MaskedContent,
  latents: Float32Array,
  noise: Float32Array,
  isDrawn: (i: number) => boolean,
): Float32Array {
  if (content === "original" || content === "fill") return latents;
  return latents.map((v, i) => (isDrawn(i) ? (content === "noise" ? (noise[i] ?? 0) : 0) : v));
}
