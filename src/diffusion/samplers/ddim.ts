/** DDIM with η = 0: Song et al. 2020, arXiv:2010.02502, equation 12. */

import { type Denoise, type Plan, report, type SampleStep } from "../plan.ts";
import { move } from "../prediction.ts";

/**
 * From `x` (flat, at the plan's first level) to its last. With `clip` the image that a step heads for is kept
 * within ±`clip`; the direction of the noise is still that of the network's own image.
 */
export async function* ddim(
  denoise: Denoise,
  x: Float32Array,
  plan: Plan,
  clip: number | null,
): AsyncGenerator<SampleStep> {
  let current = x;
  for (const [i, step] of plan.steps.entries()) {
    const denoised = await denoise(current, step);
    const target = clip === null ? denoised : clamp(denoised, clip);
    current = move(current, denoised, step.from, step.to, target);
    yield report(i, step, current, target);
  }
}

/** Every element kept within ±`range`. */
export const clamp = (x: Float32Array, range: number): Float32Array =>
  x.map((v) => Math.min(Math.max(v, -range), range));
