/**
 * What a network predicts, and the way from there to the clean image and on to another noise level.
 *
 * A noised image is x = signal · z₀ + noise · ε. With signal² + noise² = 1 it keeps its variance (DDIM and kin);
 * with signal = 1 the noise is added on top (Euler, k-diffusion). Both are one formula here: Karras et al. 2022,
 * arXiv:2206.00364, appendix B; v is that of Salimans and Ho 2022, arXiv:2202.00512, section 4.
 */

import { unreachable } from "../core/assert.ts";

/** diffusers' names: ε, v = α ε − β z₀, or z₀ itself. */
export type Prediction = "epsilon" | "v_prediction" | "sample";

export const predictions: readonly Prediction[] = ["epsilon", "v_prediction", "sample"];

/** How much image and how much noise is in x, both in units of the data's standard deviation. */
export interface NoiseLevel {
  readonly signal: number;
  readonly noise: number;
}

/** σ of k-diffusion: noise over signal; infinite where nothing of the image is left. */
export const sigmaOf = (level: NoiseLevel): number => level.noise / level.signal;

/** λ of DPM-Solver: half the logarithm of the signal-to-noise ratio; infinite without noise. */
export const halfLogSnr = (level: NoiseLevel): number => Math.log(level.signal / level.noise);

/** The level of variance 1 with cumulative product ᾱ (`alphas_cumprod`). */
export const levelOfAlpha = (alphaCumprod: number): NoiseLevel => ({
  signal: Math.sqrt(alphaCumprod),
  noise: Math.sqrt(1 - alphaCumprod),
});

/** The level with noise σ on top of the image. */
export const levelOfSigma = (sigma: number): NoiseLevel => ({ signal: 1, noise: sigma });

/** What x is multiplied by before a network sees it: its variance becomes 1 (c_in of Karras et al.). */
export const inputScale = (level: NoiseLevel): number => 1 / Math.hypot(level.signal, level.noise);

/** `a · x + b · y`, element by element, in a new array of their length. */
export function combine(a: number, x: Float32Array, b: number, y: Float32Array): Float32Array<ArrayBuffer> {
  const out = new Float32Array(x.length);
  for (let i = 0; i < out.length; i++) out[i] = a * (x[i] ?? 0) + b * (y[i] ?? 0);
  return out;
}

/** Σ weight · array, element by element; equal lengths. */
export function weighted(
  weights: readonly number[],
  arrays: readonly Float32Array[],
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(arrays[0]?.length ?? 0);
  for (let i = 0; i < out.length; i++) {
    let sum = 0;
    for (const [k, weight] of weights.entries()) sum += weight * (arrays[k]?.[i] ?? 0);
    out[i] = sum;
  }
  return out;
}

/** The factors (of x, of the prediction) whose sum is z₀. */
function denoisedFactors(kind: Prediction, level: NoiseLevel): readonly [number, number] {
  const scale = inputScale(level);
  switch (kind) {
    case "epsilon":
      return [1 / level.signal, -level.noise / level.signal];
    case "v_prediction":
      return [level.signal * scale * scale, -level.noise * scale];
    case "sample":
      return [0, 1];
    default:
      return unreachable(kind, "denoisedFactors");
  }
}

/** z₀ as the network sees it: `x` (not scaled for the network) and its raw `prediction`, any shape → the same shape. */
export function toDenoised(
  kind: Prediction,
  prediction: Float32Array,
  x: Float32Array,
  level: NoiseLevel,
): Float32Array<ArrayBuffer> {
  const [ofX, ofPrediction] = denoisedFactors(kind, level);
  return combine(ofX, x, ofPrediction, prediction);
}

/** The inverse of `toDenoised`: what a network of that kind would have said for z₀ = `denoised`. */
export function fromDenoised(
  kind: Prediction,
  denoised: Float32Array,
  x: Float32Array,
  level: NoiseLevel,
): Float32Array<ArrayBuffer> {
  const [ofX, ofPrediction] = denoisedFactors(kind, level);
  return combine(1 / ofPrediction, denoised, -ofX / ofPrediction, x);
}

/** x at `level`: `signal · z₀ + noise · ε`. Equal arrays, any shape. */
export const addNoise = (
  z0: Float32Array,
  epsilon: Float32Array,
  level: NoiseLevel,
): Float32Array<ArrayBuffer> => combine(level.signal, z0, level.noise, epsilon);

/**
 * x at the level `to`, keeping the noise that `denoised` implies and heading for `target`: DDIM's step with η = 0
 * (Song et al. 2020, arXiv:2010.02502, equation 12), which at signal = 1 is Euler's, and is the first order of
 * DPM-Solver++. `from.noise` must not be 0.
 */
export function move(
  x: Float32Array,
  denoised: Float32Array,
  from: NoiseLevel,
  to: NoiseLevel,
  target: Float32Array = denoised,
): Float32Array<ArrayBuffer> {
  const ofX = to.noise / from.noise;
  const ofDenoised = -ofX * from.signal;
  const out = new Float32Array(x.length);
  for (let i = 0; i < out.length; i++) {
    out[i] = ofX * (x[i] ?? 0) + ofDenoised * (denoised[i] ?? 0) + to.signal * (target[i] ?? 0);
  }
  return out;
}
