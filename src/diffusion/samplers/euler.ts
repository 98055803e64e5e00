/** Euler's method on the probability flow: Karras et al. 2022, arXiv:2206.00364, algorithm 1 without its second half. */

import { type Denoise, type Plan, report, type SampleStep } from "../plan.ts";
import { move } from "../prediction.ts";

/** From `x` (flat, at the plan's first level) to its last. */
export async function* euler(denoise: Denoise, x: Float32Array, plan: Plan): AsyncGenerator<SampleStep> {
  let current = x;
  for (const [i, step] of plan.steps.entries()) {
    const denoised = await denoise(current, step);
    current = move(current, denoised, step.from, step.to);
    yield report(i, step, current, denoised);
  }
}
