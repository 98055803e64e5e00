/** Strategic stochastic sampling of trajectory consistency: Zheng et al. 2024, arXiv:2402.19159, algorithm 4. */

import { type Denoise, type Noise, type Plan, report, type SampleStep } from "../plan.ts";
import { combine, move } from "../prediction.ts";

/**
 * From `x` (flat, at the plan's first level) to its last. Every step but the last lands beyond its end, at its level `via`, and
 * comes back up by fresh `noise`.
 */
export async function* tcd(
  denoise: Denoise,
  x: Float32Array,
  plan: Plan,
  noise: Noise,
): AsyncGenerator<SampleStep> {
  let current = x;
  for (const [i, step] of plan.steps.entries()) {
    const denoised = await denoise(current, step);
    const via = step.via ?? step.to;
    current = move(current, denoised, step.from, via);
    const kept = step.to.signal / via.signal;
    if (kept < 1) current = combine(kept, current, Math.sqrt(1 - kept ** 2), noise());
    yield report(i, step, current, denoised);
  }
}
