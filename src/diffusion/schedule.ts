/**
 * How noise grows over the training steps, and which of those a sampler visits.
 *
 * Sources: Ho et al. 2020, arXiv:2006.11239 (β, ᾱ); Lin et al. 2023, arXiv:2305.08891 (zero terminal SNR, table 2:
 * spacings); Karras et al. 2022, arXiv:2206.00364, equation 5. Values are rounded to float32 where diffusers'
 * tables are, so that the tables agree to the last bits.
 */

import { check, unreachable } from "../core/assert.ts";
import type { StepChoice } from "./plan.ts";

const f32 = Math.fround;

export type BetaSchedule = "linear" | "scaled_linear" | "squaredcos_cap_v2";
export type Spacing = "linspace" | "leading" | "trailing";

export interface NoiseConfig {
  readonly trainSteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: BetaSchedule;
  /** In place of the schedule, where a model brings its own. */
  readonly trainedBetas: readonly number[] | null;
  /** Shift the schedule so that the last step is pure noise. */
  readonly zeroTerminalSnr: boolean;
  /** What ᾱ of a last step of pure noise becomes: 0, or a little more where σ must stay finite. */
  readonly lastAlphaCumprod: number;
}

/** One row a training step, least noise first. */
export interface NoiseTable {
  /** ᾱ: the share of the image in the variance. */
  readonly alphasCumprod: Float32Array;
  /** √((1 − ᾱ) / ᾱ): noise in units of the image's standard deviation. */
  readonly sigmas: Float32Array;
}

export function noiseTable(c: NoiseConfig): NoiseTable {
  let betas = betasOf(c);
  if (c.zeroTerminalSnr) betas = rescaleZeroTerminalSnr(betas);
  const alphasCumprod = cumulativeAlphas(betas);
  if (c.zeroTerminalSnr) alphasCumprod[alphasCumprod.length - 1] = c.lastAlphaCumprod;
  return { alphasCumprod, sigmas: alphasCumprod.map((a) => Math.sqrt(f32(f32(1 - a) / a))) };
}

/** β of every training step. */
export function betasOf(c: NoiseConfig): Float32Array {
  if (c.trainedBetas !== null) return Float32Array.from(c.trainedBetas);
  const n = c.trainSteps;
  switch (c.betaSchedule) {
    case "linear":
      return float32Linspace(c.betaStart, c.betaEnd, n);
    case "scaled_linear":
      return float32Linspace(Math.sqrt(c.betaStart), Math.sqrt(c.betaEnd), n).map((x) => x * x);
    case "squaredcos_cap_v2": {
      // Nichol and Dhariwal 2021, arXiv:2102.09672, equation 17
      const alphaBar = (t: number): number => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
      return Float32Array.from({ length: n }, (_, i) =>
        Math.min(1 - alphaBar((i + 1) / n) / alphaBar(i / n), 0.999),
      );
    }
    default:
      return unreachable(c.betaSchedule, "betasOf");
  }
}

/** `torch.linspace` in float32: counted from the nearer end. */
function float32Linspace(start: number, end: number, n: number): Float32Array {
  const step = f32(f32(f32(end) - f32(start)) / (n - 1));
  return Float32Array.from({ length: n }, (_, i) =>
    i < n / 2 ? f32(start) + f32(step * i) : f32(end) - f32(step * (n - 1 - i)),
  );
}

/** β changed so that √ᾱ ends at 0 and begins where it began (Lin et al., algorithm 1). */
export function rescaleZeroTerminalSnr(betas: Float32Array): Float32Array {
  const roots = cumulativeAlphas(betas).map(Math.sqrt);
  const first = roots[0] ?? 0;
  const last = roots[roots.length - 1] ?? 0;
  const scale = f32(first / f32(first - last));
  const bars = roots.map((r) => f32(f32(r - last) * scale) ** 2);
  return bars.map((bar, i) => 1 - f32(bar / (i === 0 ? 1 : (bars[i - 1] ?? 1))));
}

/** ᾱ = Π (1 − β): float32 factors, a float64 product (as torch's cumprod on a CPU), float32 results. */
function cumulativeAlphas(betas: Float32Array): Float32Array {
  let product = 1;
  return betas.map((beta) => {
    product *= f32(1 - beta);
    return product;
  });
}

/** `n` numbers from `start` to `end`, both included, as `numpy.linspace`; one number is `start`. */
export function linspace(start: number, end: number, n: number): number[] {
  const step = (end - start) / (n - 1);
  return Array.from({ length: n }, (_, i) =>
    i > 0 && i === n - 1 ? end : i === 0 ? start : start + i * step,
  );
}

/** The nearest whole number, a half to the even one, as NumPy rounds. */
export function roundEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + Math.abs(floor % 2) : Math.round(x);
}

/** Whole training steps apart from one another, from 0 up, plus `offset`; most noise first. */
export function leadingTimesteps(steps: number, trainSteps: number, offset: number): number[] {
  const ratio = Math.floor(trainSteps / steps);
  return Array.from({ length: steps }, (_, i) => (steps - 1 - i) * ratio + offset);
}

/**
 * Equal shares of the training steps, each at its noisiest end; most noise first. Sums in the order of
 * `numpy.arange(last, 0, -trainSteps / steps)`, since the rounding of halves hangs on their last bit.
 */
export function trailingTimesteps(steps: number, trainSteps: number, last: number = trainSteps): number[] {
  const ratio = trainSteps / steps;
  const delta = last - ratio - last;
  // arange runs one past the end for some counts (61, 103, …); the training step before the first is none
  const count = Math.min(steps, Math.ceil(last / ratio));
  return Array.from({ length: count }, (_, i) => roundEven(last + i * delta) - 1);
}

/** `table` at a fractional index, straight lines between the entries, constant outside (`numpy.interp`). */
export function interpolate(table: Float32Array, at: number): number {
  const clamped = Math.min(Math.max(at, 0), table.length - 1);
  const low = Math.min(Math.floor(clamped), table.length - 2);
  const a = table[low] ?? 0;
  return a + (clamped - low) * ((table[low + 1] ?? a) - a);
}

/** Noise levels from `max` down to `min`, evenly spaced in σ^(1/7). */
export function karrasSigmas(min: number, max: number, n: number): number[] {
  const rho = 7; // Karras et al., section 3 and table 1
  const low = min ** (1 / rho);
  const high = max ** (1 / rho);
  return linspace(0, 1, n).map((ramp) => (high + ramp * (low - high)) ** rho);
}

/** Noise levels from `max` down to `min`, evenly spaced in log σ. */
export const exponentialSigmas = (min: number, max: number, n: number): number[] =>
  linspace(Math.log(max), Math.log(min), n).map(Math.exp);

/** Both parameters of the distribution that `betaSigmas` follows: Lee et al. 2024, arXiv:2407.12173. */
const betaShape = 0.6;

/** Noise levels from `max` down to `min`, close together at both ends, as quantiles of Beta(0.6, 0.6) lie between 0 and 1. */
export const betaSigmas = (min: number, max: number, n: number): number[] =>
  linspace(0, 1, n).map((share) => min + betaQuantile(1 - share) * (max - min));

/** The x below which a share `q` of Beta(a, a) lies, a = `betaShape`. */
function betaQuantile(q: number): number {
  if (q > 1 / 2) return 1 - betaQuantile(1 - q); // the density is symmetric
  const whole = 2 * betaMass(1 / 2);
  let [low, high] = [0, 1 / 2];
  for (;;) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) return high;
    if (betaMass(middle) < q * whole) low = middle;
    else high = middle;
  }
}

/**
 * ∫₀ˣ t^(a−1) (1 − t)^(a−1) dt for x ≤ 1/2, by the powers of t (DLMF 8.17.7), each at most half of the one before.
 */
function betaMass(x: number): number {
  let sum = 0;
  let term = 1; // (1 − a)ₖ xᵏ / k!
  for (let k = 0; term > Number.EPSILON * sum; k++) {
    sum += term / (betaShape + k);
    term *= ((k + 1 - betaShape) / (k + 1)) * x;
  }
  return sum * x ** betaShape;
}

/** The (fractional) training step whose σ it is, by straight lines in log σ. */
export function timestepOfSigma(sigma: number, sigmas: Float32Array): number {
  const target = Math.log(Math.max(sigma, 1e-10));
  const log = (i: number): number => f32(Math.log(sigmas[i] ?? 0));
  let low = 0;
  while (low < sigmas.length - 2 && target >= log(low + 1)) low++;
  const weight = (log(low) - target) / f32(log(low) - log(low + 1));
  return low + Math.min(Math.max(weight, 0), 1);
}

/** @throws KoalaError E_REQUEST unless `steps` is a whole number from `least` to `most` */
export function checkSteps(steps: number, most: number, least = 1): void {
  check(Number.isInteger(steps) && steps >= least && steps <= most, "E_REQUEST", () => ({
    where: "steps",
    expected: `a whole number from ${least} to ${most} for this scheduler`,
    got: `${steps}`,
  }));
}

/** @throws KoalaError E_REQUEST unless all are among the training steps of the model, and fall */
export function checkTimesteps(timesteps: readonly number[], trainSteps: number): void {
  const isRight = (t: number, i: number): boolean =>
    Number.isInteger(t) && t >= 0 && t < (timesteps[i - 1] ?? trainSteps);
  check(timesteps.length > 0 && timesteps.every(isRight), "E_REQUEST", () => ({
    where: "timesteps",
    expected: `falling whole numbers below ${trainSteps}, the training steps of the model`,
    got: timesteps.length === 0 ? "none" : timesteps.join(", "),
  }));
}

/** For methods whose timesteps follow from something else. @throws KoalaError E_REQUEST for a list of timesteps */
export function checkCount(steps: StepChoice): asserts steps is number {
  check(typeof steps === "number", "E_REQUEST", () => ({
    where: "timesteps",
    expected: "none with this scheduler, whose timesteps are its own",
    got: String(steps),
    hint: "Euler, Heun, DDIM, UniPC, LCM, TCD and DPM-Solver take a list, where no curve lays their noise levels.",
  }));
}
