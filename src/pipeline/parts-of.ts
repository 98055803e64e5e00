/** Small facts about an opened model's parts: where its weights lie, how large they are, why a part came from elsewhere. */

import { KoalaError } from "../core/errors.ts";
import { dtypes } from "../tensor/dtype.ts";
import { size } from "../tensor/shape.ts";
import type { TensorStore } from "../tensor/stored.ts";
import type { Model } from "./model.ts";

export const float32Bytes = (store: TensorStore): number =>
  [...store.tensors.values()].reduce((sum, { shape }) => sum + size(shape) * dtypes.float32.bytes, 0);

export const storesOf = (parts: Model): TensorStore[] => [
  ...parts.texts.map(({ store }) => store),
  parts.denoiser.store,
  parts.vae.store,
];

/** The scaling factor of SDXL's latents, which PixArt-Σ draws too. */
export const xlScalingFactor = 0.13025;

/** What could not be opened is a model that the user never named: says why it was wanted. */
export const explainBase =
  (location: string) =>
  (error: unknown): never => {
    if (!(error instanceof KoalaError)) throw error;
    const { hint } = error;
    throw error.reworded({
      hint: `It completes ${location}, which has only some parts of a model: --base DIR (base in the library) names another that does.${hint === undefined ? "" : `\n${hint}`}`,
    });
  };

/** Larger models have one stage in memory at a time. koala-emoji takes 0.04 GiB; KOALA-700M with its encoders 6.4 GiB. */
export const usualResidentBytes: number = 2 ** 30;

/** A VAE whose weights take less than this (as float32) makes previews, or teaches how. TAESD takes 5 MB, SDXL's VAE 335 MB. */
const previewVaeBytes = 2 ** 24;

export const makesPreviews = (vae: TensorStore): boolean => float32Bytes(vae) < previewVaeBytes;
