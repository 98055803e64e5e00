/**
 * A picture to start from, instead of noise alone, and a mask of what is drawn anew in it.
 *
 * Source: SDEdit, Meng et al. 2022, arXiv:2108.01073 (noise up to a level, then denoise); the mask keeps what each step heads for,
 * as k-diffusion's inpainting does, which for a deterministic sampler is what diffusers' pipelines do with an ordinary U-Net.
 */

import { check } from "../core/assert.ts";
import type { Plan } from "../diffusion/plan.ts";
import { addNoise } from "../diffusion/prediction.ts";
import type { Scheduler } from "../diffusion/scheduler.ts";
import { cropRegion } from "../image/crop-region.ts";
import { fillMasked } from "../image/fill-masked.ts";
import { type Picture, toPixels } from "../image/pixels.ts";
import type { TorchGenerator } from "../tensor/random.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { encodeInStripes } from "./encode-stripes.ts";
import { contentLatents } from "./masked-content.ts";
import type { Model } from "./model.ts";
import type { VaePart } from "./parts.ts";
import { maskFields, type Request, type RequestInput, type Size } from "./request.ts";
import { runHalf, type VaeRun } from "./vae-half.ts";

export interface Start {
  /** Of the request's size; with `paddingMaskCrop` of any. */
  readonly image?: Picture | undefined;
  /** Of the picture's size: white is drawn anew, black stays, grey is between. Needs `image`. */
  readonly mask?: Picture | undefined;
}

/** Usual strength: a picture keeps its composition; what is masked is drawn anew altogether. */
export const usualStrength = (isMasked: boolean): number => (isMasked ? 1 : 0.75);

/** Steps that a strength takes of so many, as diffusers counts them: `get_timesteps` of its image-to-image pipelines. */
const stepsOf = (steps: number, strength: number): number => Math.floor(steps * strength);

function checkSides(where: string, picture: Picture | undefined, size: Size, whose: string): void {
  check(
    picture === undefined || (picture.width === size.width && picture.height === size.height),
    "E_REQUEST",
    () => ({
      where,
      expected: `${size.width} x ${size.height} px, as ${whose}`,
      got: `${picture?.width} x ${picture?.height} px`,
    }),
  );
}

/**
 * The request with the strength that its picture is started from, by a denoiser that reads so many channels beside the latents.
 * @throws KoalaError E_REQUEST
 */
export function withStart(request: Request, { image, mask }: Start, besideChannels: number): Request {
  check(besideChannels === 0 || (image !== undefined && mask !== undefined), "E_REQUEST", () => ({
    where: image === undefined ? "image" : "mask",
    expected: "a picture and a mask of what is drawn anew, since this model is one for inpainting",
    got: image === undefined ? "nothing" : "a picture alone",
  }));
  for (const where of maskFields)
    check(mask !== undefined || request[where] === undefined, "E_REQUEST", () => ({
      where,
      expected: "a mask of what is drawn anew beside it",
      got: "none",
    }));
  if (image === undefined) {
    check(mask === undefined && request.strength === undefined, "E_REQUEST", () => ({
      where: mask === undefined ? "strength" : "mask",
      expected: "a picture to start from beside it",
      got: "none",
    }));
    return request;
  }
  const { width, height, steps, strength = usualStrength(mask !== undefined), paddingMaskCrop } = request;
  if (paddingMaskCrop === undefined)
    for (const [where, picture] of Object.entries({ image, mask }))
      checkSides(where, picture, { width, height }, "the picture that is drawn");
  else {
    checkSides("mask", mask, image, "the picture");
    check(mask !== undefined && cropRegion(mask, request, 0) !== null, "E_REQUEST", () => ({
      where: "mask",
      expected: "some white, around which is drawn",
      got: "one that is black all over",
    }));
  }
  check(stepsOf(steps, strength) > 0, "E_REQUEST", () => ({
    where: "strength",
    expected: `at least ${Math.ceil(1000 / steps) / 1000} at ${steps} steps, so that one is taken`,
    got: `${strength}`,
  }));
  return { ...request, strength };
}

/** The steps that are left to a request that starts from a picture; the whole plan of one that does not. */
export function startedPlan(scheduler: Scheduler, { steps, timesteps, strength }: Request): Plan {
  const plan = scheduler.plan(timesteps ?? steps);
  return strength === undefined ? plan : scheduler.later(plan, plan.count - stepsOf(plan.count, strength));
}

/**
 * The size that has the picture's ratio of sides, in multiples of `unit` pixels: with the side that is said, or of about `pixels`
 * pixels. Sides that are said both are taken as they are.
 */
export function sizeLike(
  picture: Size,
  { width, height }: Pick<RequestInput, "width" | "height">,
  { pixels, unit }: { readonly pixels: number; readonly unit: number },
): Size {
  const scale =
    width !== undefined
      ? width / picture.width
      : height !== undefined
        ? height / picture.height
        : Math.sqrt(pixels / (picture.width * picture.height));
  const side = (length: number): number => Math.max(unit, Math.round((length * scale) / unit) * unit);
  return { width: width ?? side(picture.width), height: height ?? side(picture.height) };
}

/**
 * What the VAE sees in pictures of one size, pixels [1, 3, H, W] each: mean and log-variance [1, 2·L, h, w], or of a tiny one the
 * latents [1, L, h, w].
 * @throws KoalaError E_WEIGHTS for a VAE without an encoder, E_NAN, E_ENGINE
 */
async function encodePictures(vae: VaePart, pictures: readonly Tensor[], o: VaeRun): Promise<Tensor[]> {
  const [, , height = 0, width = 0] = pictures[0]?.shape ?? [];
  const { outputs } = vae.encoder({ batch: 1, height, width });
  const encoder = { outputs, reads: "picture", gives: "latents", inStripes: encodeInStripes };
  const encoded: Tensor[] = [];
  for (const picture of pictures) encoded.push(await runHalf(vae, encoder, picture, o));
  return encoded;
}

/** Bounds of the log-variance. Source: diffusers' `DiagonalGaussianDistribution`. */
const leastLogVariance = -30;
const mostLogVariance = 20;

/** Latents as the denoiser has them, flat, of what `encodePictures` gave: drawn, where that tells a spread. */
function drawLatents(encoded: Tensor, vae: VaePart, generator: TorchGenerator): Float32Array {
  const values = toFloat32(encoded);
  const cells = (vae.latentChannels * values.length) / (encoded.shape[1] ?? 1);
  const mean = values.subarray(0, cells);
  const logVariance = values.subarray(cells);
  const noise = logVariance.length === 0 ? null : generator.randn(cells);
  return mean.map((value, i) => {
    const spread = Math.exp(Math.min(Math.max(logVariance[i] ?? 0, leastLogVariance), mostLogVariance) / 2);
    return (value + spread * (noise?.[i] ?? 0) - vae.shiftFactor) * vae.scalingFactor;
  });
}

/** The share of white from which on a pixel is drawn anew. */
const half = 128;

/** Row-major, whether each pixel of a mask is drawn anew. */
const drawnPixels = ({ data }: Picture): boolean[] =>
  Array.from({ length: data.length / 3 }, (_, i) => (data[3 * i] ?? 0) >= half);

/** 1 for latent cells that have such a pixel, 0 for those that stay, [h, w] flat. */
export function maskCells(mask: Picture, factor: number): Float32Array {
  const across = mask.width / factor;
  const cells = new Float32Array(across * (mask.height / factor));
  for (const [i, isDrawn] of drawnPixels(mask).entries()) {
    const [x, y] = [i % mask.width, Math.floor(i / mask.width)];
    if (isDrawn) cells[Math.floor(y / factor) * across + Math.floor(x / factor)] = 1;
  }
  return cells;
}

/** What a mask leaves of pixels [1, 3, H, W]: 0 where it draws. */
function maskedPixels(pixels: Tensor, mask: Picture): Tensor {
  const isDrawn = drawnPixels(mask);
  return float32(
    pixels.shape,
    toFloat32(pixels).map((v, i) => (isDrawn[i % isDrawn.length] ? 0 : v)),
  );
}

/** Where denoising begins, what of it stays, and what the denoiser reads beside the latents; all flat. */
export interface Started {
  /** [L, h, w] at the plan's first level. */
  readonly x: Float32Array;
  keep(denoised: Float32Array): Float32Array;
  /** [`besideChannels`, h, w] */
  readonly beside: Float32Array;
}

/** How each picture of a request starts: x has `cells` numbers, and the picture's noise is `generator`'s. */
export type Starter = (plan: Plan, cells: number, generator: TorchGenerator) => Started;

const nothing = new Float32Array(0);
const asIs = (denoised: Float32Array): Float32Array => denoised;

export const fromNoise: Starter = (plan, cells, generator) => ({
  x: generator.randn(cells).map((v) => v * plan.initNoiseSigma),
  ...{ keep: asIs, beside: nothing },
});

/**
 * From a picture of the request's size, which is encoded once for all pictures. Draws come in diffusers' order. What `maskedContent`
 * puts under the mask is where denoising begins, for a U-Net that reads the mask too: what that reads of the picture is the rest of
 * it, whatever the content.
 * @throws KoalaError E_WEIGHTS for a VAE without an encoder, E_NAN, E_ENGINE
 */
export async function fromPicture(
  { vae, denoiser }: Pick<Model, "vae" | "denoiser">,
  { strength, maskedContent: content = "original" }: Request,
  { image, mask }: { readonly image: Picture; readonly mask?: Picture | undefined },
  o: VaeRun,
): Promise<Starter> {
  const pixels = toPixels([image]);
  const readsMask = denoiser.besideChannels > 0 && mask !== undefined;
  // at full strength nothing of what was there shines through, as it would at the first level; what is put there is to
  const isAnew = strength === 1 && content === "original";
  const restarts = readsMask && isAnew; // then nothing but what the mask leaves is read
  const isFilled = mask !== undefined && content === "fill";
  const shown = isFilled ? toPixels([fillMasked(image, mask)]) : pixels;
  const seen = await encodePictures(
    vae,
    [...(restarts ? [] : [shown]), ...(readsMask ? [maskedPixels(pixels, mask)] : [])],
    o,
  );
  const [encoded] = seen;
  const encodedRest = readsMask ? seen.at(-1) : undefined;
  const drawn = mask === undefined ? null : maskCells(mask, vae.factor);
  const isDrawn = (i: number): boolean => drawn?.[i % drawn.length] === 1;
  return (plan, count, generator) => {
    const noised = () => {
      const latents = drawLatents(encoded as Tensor, vae, generator);
      const noise = generator.randn(count);
      const begun = contentLatents(content, latents, noise, isDrawn);
      return { latents, noise, x: addNoise(begun, noise, plan.steps[0]?.at ?? { signal: 1, noise: 0 }) };
    };
    if (drawn === null) return { x: noised().x, keep: asIs, beside: nothing };
    if (encodedRest !== undefined) {
      const { x } = restarts ? fromNoise(plan, count, generator) : noised();
      return { x, keep: asIs, beside: joined(drawn, drawLatents(encodedRest, vae, generator)) };
    }
    const { latents, noise, x } = noised();
    if (isAnew) for (let i = 0; i < count; i++) if (isDrawn(i)) x[i] = (noise[i] ?? 0) * plan.initNoiseSigma;
    const keep = (denoised: Float32Array) => denoised.map((v, i) => (isDrawn(i) ? v : (latents[i] ?? 0)));
    return { x, keep, beside: nothing };
  };
}

function joined(a: Float32Array, b: Float32Array): Float32Array {
  const both = new Float32Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
