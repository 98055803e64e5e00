/**
 * Rough pictures of what is being drawn, for little of a step's time. A small VAE makes them itself, where that is quick
 * beside a step or nothing was decoded yet; else they have the colours that it was seen to make of latents. Of a large VAE
 * the colours are known.
 */

import { ColourFit } from "../image/colour-fit.ts";
import { type Picture, toPictures } from "../image/pixels.ts";
import { preview, sdColours, sdxlColours } from "../image/preview.ts";
import { enlarge } from "../image/resize.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Model } from "./model.ts";
import { makesPreviews, xlScalingFactor } from "./parts-of.ts";

/** What of a step's time a preview by the VAE may take. */
const PREVIEW_SHARE = 0.05;

export class Previews {
  readonly #parts: Pick<Model, "vae" | "isXL">;
  readonly #fit: ColourFit | null;
  /** What the last picture took to decode. */
  #decodeSeconds = 0;

  constructor(parts: Pick<Model, "vae" | "isXL">) {
    this.#parts = parts;
    this.#fit = makesPreviews(parts.vae.store) ? new ColourFit(parts.vae.latentChannels) : null;
  }

  /** `latents` [1, L, h, w] became `pixels` [1, 3, H, W] within `seconds`. */
  learn(latents: Tensor, pixels: Tensor, seconds: number): void {
    this.#decodeSeconds = seconds;
    this.#fit?.see(latents, pixels);
  }

  /** Of `denoised` [1, L, h, w] after a step of `stepSeconds`; null where nothing is known of the VAE's colours. */
  async of(
    denoised: Tensor,
    stepSeconds: number,
    decode: (latents: Tensor) => Promise<Tensor>,
  ): Promise<Picture | null> {
    const { vae, isXL } = this.#parts;
    if (this.#fit === null) {
      if (vae.latentChannels !== sdColours.weights.length) return null;
      const hasXlLatents = isXL || vae.scalingFactor === xlScalingFactor;
      return preview(denoised, hasXlLatents ? sdxlColours : sdColours)[0] ?? null;
    }
    const map = this.#fit.map();
    if (map === null || this.#decodeSeconds <= PREVIEW_SHARE * stepSeconds)
      return toPictures(await decode(denoised))[0] ?? null;
    const [rough] = preview(denoised, map);
    return rough === undefined ? null : enlarge(rough, vae.factor * rough.width, vae.factor * rough.height);
  }
}
