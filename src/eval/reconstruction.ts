/** How much of a picture a VAE keeps: encoded to the mean of its latents, decoded again, and compared in dB. */

import { check } from "../core/assert.ts";
import { compile } from "../engine/compile.ts";
import type { Program } from "../engine/program.ts";
import { type Picture, toPictures, toPixels } from "../image/pixels.ts";
import { buildVaeDecoder, buildVaeEncoder, vaeConfig, vaeFactor } from "../models/vae.ts";
import type { Engine } from "../runtime/session.ts";
import { size } from "../tensor/shape.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { checkWeights } from "../weights/check.ts";
import type { ModelFiles } from "../weights/files.ts";
import { openComponent } from "../weights/layout.ts";
import { type Estimate, meanEstimate, quantile } from "./chance.ts";

export interface Reconstructor {
  /** Pixels a latent cell: sides must be multiples of it. */
  readonly factor: number;
  /** Height and width, in pixels, that it was trained at; null where its config does not say. */
  readonly sampleSize: number | null;
  /** The picture as it comes back, of the same size. All pictures of a reconstructor have one size. */
  reconstruct(picture: Picture): Promise<Picture>;
  dispose(): Promise<void>;
}

/**
 * The VAE of a model folder, or of a folder of its own, both halves.
 * @throws KoalaError E_MODEL, E_CONFIG, E_WEIGHTS, E_FILE, E_SAFETENSORS
 */
export async function openReconstructor(
  files: ModelFiles,
  o: { readonly engine: Engine; readonly threads?: number },
): Promise<Reconstructor> {
  const isAlone = (await files.list()).includes("config.json");
  const { config: json, store } = await openComponent(files, isAlone ? "" : "vae");
  const where = isAlone ? files.location : `${files.location}/vae`;
  const config = vaeConfig(json, `${where}/config.json`);
  const factor = vaeFactor(config);
  const small = { batch: 1, height: 8, width: 8 };
  const halves = [
    buildVaeEncoder(config, { batch: 1, height: 8 * factor, width: 8 * factor }),
    buildVaeDecoder(config, small),
  ];
  const expected = halves.flatMap(({ parameters }) =>
    [...parameters].map(([name, { value }]) => [name, value.shape] as const),
  );
  checkWeights(store, new Map(expected), { where });
  let programs: { encoder: Program; decoder: Program; width: number; height: number } | null = null;

  async function programsFor({ width, height }: Picture): Promise<NonNullable<typeof programs>> {
    if (programs?.width === width && programs.height === height) return programs;
    await dispose();
    const how = { ...o, store };
    const cells = { batch: 1, height: height / factor, width: width / factor };
    const encoder = await compile(buildVaeEncoder(config, { batch: 1, height, width }).outputs, how);
    const decoder = await compile(buildVaeDecoder(config, cells).outputs, how);
    programs = { encoder, decoder, width, height };
    return programs;
  }

  async function dispose(): Promise<void> {
    const held = programs;
    programs = null;
    await held?.encoder.dispose();
    await held?.decoder.dispose();
  }

  return {
    factor,
    sampleSize: config.sampleSize,
    async reconstruct(picture) {
      check(picture.width % factor === 0 && picture.height % factor === 0, "E_SHAPE", () => ({
        where: "reconstruct",
        expected: `sides that are multiples of ${factor} px, the VAE's latent cell`,
        got: `${picture.width} x ${picture.height} px`,
      }));
      const { encoder, decoder } = await programsFor(picture);
      const { moments } = await encoder.run({ picture: toPixels([picture]) });
      const shape = [1, config.latentChannels, picture.height / factor, picture.width / factor];
      const latents = float32(shape, toFloat32(moments as Tensor).slice(0, size(shape))); // the mean comes first
      const { picture: pixels } = await decoder.run({ latents });
      return toPictures(pixels as Tensor)[0] as Picture;
    },
    dispose,
  };
}

export interface Reconstruction {
  /** Mean over pictures, dB. */
  readonly mean: Estimate;
  /** One picture in twenty comes back worse, dB. */
  readonly worst: number;
}

/** From the dB of each picture; a picture that comes back exactly counts as 100 dB, more than bytes can tell. */
export function reconstruction(decibels: readonly number[], seed: number): Reconstruction {
  const finite = decibels.map((x) => Math.min(x, 100));
  return { mean: meanEstimate(finite, seed), worst: quantile(finite, 0.05) };
}
