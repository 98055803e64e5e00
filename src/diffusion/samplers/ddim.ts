/** DDIM: Song et al. 2020, arXiv:2010.02502, equation 12. Plans have variance 1. */

import { type Denoise, type Noise, type Plan, report, type SampleStep } from "../plan.ts";
import { combine, move } from "../prediction.ts";

export interface DdimOptions {
  /** Keep the image that a step heads for within ± this; the direction of the noise is still that of the network's own image. */
  readonly clip: number | null;
  /** η, the share of fresh noise: from 0, none, to 1, as in DDPM. */
  readonly eta: number;
}

/** From `x` (flat, at the plan's first level) to its last; draws `noise` once a step where `eta` is above 0. */
export async function* ddim(
  denoise: Denoise,
  x: Float32Array,
  plan: Plan,
  noise: Noise,
  { clip, eta }: DdimOptions,
): AsyncGenerator<SampleStep> {
  let current = x;
  for (const [i, step] of plan.steps.entries()) {
    const denoised = await denoise(current, step);
    const target = clip === null ? denoised : clamp(denoised, clip);
    const { from, to } = step;
    // equation 16: σ
    const fresh = eta * (to.noise / from.noise) * Math.sqrt(1 - (from.signal / to.signal) ** 2);
    const kept = { signal: to.signal, noise: Math.sqrt(Math.max(to.noise ** 2 - fresh ** 2, 0)) };
    current = move(current, denoised, from, kept, target);
    if (eta > 0) current = combine(1, current, fresh, noise());
    yield report(i, step, current, target);
  }
}

/** Every element kept within ±`range`. */
export const clamp = (x: Float32Array, range: number): Float32Array =>
  x.map((v) => Math.min(Math.max(v, -range), range));
