/**
 * What a denoiser learns: noised latents in, a target and a weight a picture out; and the losses as graphs.
 * Sources: Ho et al. 2020, arXiv:2006.11239 (ε); Salimans and Ho 2022, arXiv:2202.00512 (v); Hang et al. 2023,
 * arXiv:2303.09556 (min-SNR); Yu et al. 2023, arXiv:2310.08442 (debiased); diffusers' `train_text_to_image_sdxl.py` for how
 * they are combined.
 */

import { unreachable } from "../core/assert.ts";
import { addNoise, combine, levelOfAlpha, type Prediction } from "../diffusion/prediction.ts";
import type { Value } from "../graph/op.ts";
import { mean, mul, square, sub } from "../ops/index.ts";
import { type FastGenerator, fastGenerator } from "../tensor/random.ts";
import type { Share } from "./parallel.ts";

/** What arrays are filled with. */
export type Draws = Pick<FastGenerator, "uniform" | "normal">;

/**
 * The random numbers of one purpose at one step: a run that resumes draws what an uninterrupted one would have, with
 * nothing to remember but the seed. With `share` an array that is filled is that part of what a process alone would draw
 * for the whole batch, its pictures being the outermost axis. @throws KoalaError E_REQUEST for a seed that is no whole number
 */
export function stepGenerator(seed: number, step: number, purpose: string, share?: Share): Draws {
  const whole = fastGenerator(seed, `${purpose}.${step}`);
  if (share === undefined || share.size === 1) return whole;
  const part = (out: Float32Array, fill: (all: Float32Array) => void): void => {
    const all = new Float32Array(out.length * share.size);
    fill(all);
    out.set(all.subarray(share.rank * out.length, (share.rank + 1) * out.length));
  };
  return {
    uniform: (out, from, to) => part(out, (all) => whole.uniform(all, from, to)),
    normal: (out, std) => part(out, (all) => whole.normal(all, std)),
  };
}

/** `count` training steps of the noise schedule, each equally likely, 0 up to `trainSteps` − 1. */
export function drawTimesteps(random: Draws, count: number, trainSteps: number): number[] {
  const draws = new Float32Array(count);
  random.uniform(draws, 0, 1);
  return Array.from(draws, (u) => Math.min(Math.floor(u * trainSteps), trainSteps - 1));
}

/**
 * Normals for `batch` pictures of `channels` planes of `cells` values, and `offset` times one normal more for each whole
 * plane (noise offset: it teaches pictures that are dark or bright as a whole). [batch, channels, cells], flat.
 */
export function drawNoise(
  random: Draws,
  o: { readonly batch: number; readonly channels: number; readonly cells: number; readonly offset?: number },
): Float32Array<ArrayBuffer> {
  const noise = new Float32Array(o.batch * o.channels * o.cells);
  random.normal(noise, 1);
  const { offset = 0 } = o;
  if (offset === 0) return noise;
  const planes = new Float32Array(o.batch * o.channels);
  random.normal(planes, offset);
  return noise.map((x, i) => x + (planes[Math.floor(i / o.cells)] ?? 0));
}

/** What the network should say for `z0` noised by `noise` at ᾱ; any shape → the same shape. */
export function targetOf(
  kind: Prediction,
  z0: Float32Array<ArrayBuffer>,
  noise: Float32Array<ArrayBuffer>,
  alphaCumprod: number,
): Float32Array<ArrayBuffer> {
  const { signal, noise: amount } = levelOfAlpha(alphaCumprod);
  switch (kind) {
    case "epsilon":
      return noise;
    case "v_prediction":
      return combine(signal, noise, -amount, z0);
    case "sample":
      return z0;
    default:
      return unreachable(kind, "targetOf");
  }
}

/**
 * How much a step of noise counts, by its SNR = ᾱ / (1 − ᾱ): in the squared error of the clean latents min(SNR, γ) for
 * `min-snr` (equation 5) and √SNR for `debiased`, under which steps of much noise, where a picture gets its subject, count
 * many times as much.
 */
export type Weighting =
  | { readonly kind: "uniform" }
  | { readonly kind: "min-snr"; readonly gamma: number }
  | { readonly kind: "debiased" };

/** Of the squared error of that prediction, which by itself weighs clean latents by SNR, SNR + 1 or 1. */
export function lossWeight(prediction: Prediction, alphaCumprod: number, weighting: Weighting): number {
  if (weighting.kind === "uniform") return 1;
  const isDebiased = weighting.kind === "debiased";
  const snr = Math.max(alphaCumprod / (1 - alphaCumprod), isDebiased ? LEAST_SNR : 0);
  const wanted = isDebiased ? Math.sqrt(snr) : Math.min(snr, weighting.gamma);
  switch (prediction) {
    case "epsilon":
      return snr === 0 ? 1 : wanted / snr; // the limit, where the last step is pure noise
    case "v_prediction":
      return wanted / (snr + 1);
    case "sample":
      return wanted;
    default:
      return unreachable(prediction, "lossWeight");
  }
}

/** Below that of any schedule's last step but pure noise, where 1/√SNR would have no bound. */
const LEAST_SNR = 1e-4;

export interface NoisedBatch {
  /** [N, ..], like the latents. */
  readonly sample: Float32Array<ArrayBuffer>;
  readonly target: Float32Array<ArrayBuffer>;
  /** [N]: of each picture's squared error. */
  readonly weight: Float32Array<ArrayBuffer>;
}

/** Latents `z0` and `noise` [N, ..] at the training steps `timesteps` [N] of the schedule's `alphasCumprod`. */
export function noisedBatch(
  z0: Float32Array<ArrayBuffer>,
  noise: Float32Array<ArrayBuffer>,
  timesteps: readonly number[],
  o: {
    readonly alphasCumprod: ArrayLike<number>;
    readonly prediction: Prediction;
    readonly weighting: Weighting;
  },
): NoisedBatch {
  const each = z0.length / timesteps.length;
  const sample = new Float32Array(z0.length);
  const target = new Float32Array(z0.length);
  const weight = new Float32Array(timesteps.length);
  for (const [n, t] of timesteps.entries()) {
    const alpha = o.alphasCumprod[t] ?? Number.NaN;
    const [z, e] = [z0, noise].map((all) => all.subarray(n * each, (n + 1) * each)) as [typeof z0, typeof z0];
    sample.set(addNoise(z, e, levelOfAlpha(alpha)), n * each);
    target.set(targetOf(o.prediction, z, e, alpha), n * each);
    weight[n] = lossWeight(o.prediction, alpha, o.weighting);
  }
  return { sample, target, weight };
}

const axesOf = (x: Value): number[] => x.shape.map((_, axis) => axis);

/** The mean squared difference of `a` and `b`, of one shape → []. */
export const mse = (a: Value, b: Value): Value => mean(square(sub(a, b)), axesOf(a));

/** Each picture's mean squared error times its weight, on average: `prediction` and `target` [N, ..], `weight` [N] → []. */
export const weightedMse = (prediction: Value, target: Value, weight: Value): Value =>
  mean(mul(mean(square(sub(prediction, target)), axesOf(prediction).slice(1)), weight), [0]);
