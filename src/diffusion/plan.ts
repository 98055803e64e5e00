/** What a sampler is told, and what it tells: the noise levels of a run, a denoiser, one report a step. */

import type { NoiseLevel } from "./prediction.ts";

/** One call of the network and the update that follows it. */
export interface PlanStep {
  /** Index of training steps, as the network is told it; a fraction between two of them. */
  readonly timestep: number;
  /** The noise in x when the network sees it. */
  readonly at: NoiseLevel;
  /** Where the update starts: `at`, but for multi-stage methods that go back to an earlier x. */
  readonly from: NoiseLevel;
  /** Where the update ends. */
  readonly to: NoiseLevel;
  /** Where it lands before fresh noise takes it up to `to`; absent: it goes straight there, or the sampler knows. */
  readonly via?: NoiseLevel;
}

export interface Plan {
  readonly steps: readonly PlanStep[];
  /** Noise levels of the whole schedule: more than `steps` where a plan starts late, fewer where a method calls twice at one. */
  readonly count: number;
  /** Standard deviation of the x to start from: unit noise is multiplied by it. */
  readonly initNoiseSigma: number;
}

/** How many steps, or the timesteps themselves: whole numbers, falling. */
export type StepChoice = number | readonly number[];

/** z₀ seen in `x` (any shape, flat) at `step.at`; the same length. */
export type Denoise = (x: Float32Array, step: PlanStep) => Promise<Float32Array>;

/** Fresh unit noise of the length of x, for samplers that add some. */
export type Noise = () => Float32Array;

export interface SampleStep {
  /** Steps of the plan done, from 1: as many calls of the network, but for Heun, which makes two a step. */
  readonly step: number;
  readonly timestep: number;
  /** σ after the step, in units of the data's standard deviation. */
  readonly sigma: number;
  readonly x: Float32Array;
  /** The z₀ that the step was heading for: what a preview shows. */
  readonly denoised: Float32Array;
}

/** The report of step `index` of `plan`. */
export function report(index: number, step: PlanStep, x: Float32Array, denoised: Float32Array): SampleStep {
  return { step: index + 1, timestep: step.timestep, sigma: step.to.noise / step.to.signal, x, denoised };
}
