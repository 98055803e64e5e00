/**
 * Euler steps that go too far down and add fresh noise: Song et al. 2020, arXiv:2010.02502, η = 1, in the form of
 * k-diffusion's `get_ancestral_step`. Plans have signal 1.
 */

import { type Denoise, type Noise, type Plan, report, type SampleStep } from "../plan.ts";
import { combine, levelOfSigma, move } from "../prediction.ts";

/** From `x` (flat, at the plan's first level) to its last; draws `noise` once a step. */
export async function* eulerAncestral(
  denoise: Denoise,
  x: Float32Array,
  plan: Plan,
  noise: Noise,
): AsyncGenerator<SampleStep> {
  let current = x;
  for (const [i, step] of plan.steps.entries()) {
    const denoised = await denoise(current, step);
    const from = step.from.noise;
    const to = step.to.noise;
    const up = Math.sqrt((to ** 2 * (from ** 2 - to ** 2)) / from ** 2);
    const down = Math.sqrt(to ** 2 - up ** 2);
    // drawn even where `up` is 0, as diffusers does: the stream goes on alike
    current = combine(1, move(current, denoised, step.from, levelOfSigma(down)), up, noise());
    yield report(i, step, current, denoised);
  }
}
