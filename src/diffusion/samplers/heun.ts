/** Heun's method on the probability flow: Karras et al. 2022, arXiv:2206.00364, algorithm 1. Plans have signal 1. */

import { type Denoise, type Plan, report, type SampleStep } from "../plan.ts";
import { combine, move } from "../prediction.ts";

/** From `x` (flat, at the plan's first level) to its last: two calls of the network a step, one where a step ends clean. */
export async function* heun(denoise: Denoise, x: Float32Array, plan: Plan): AsyncGenerator<SampleStep> {
  let current = x;
  for (const [i, step] of plan.steps.entries()) {
    const denoised = await denoise(current, step);
    const { from, to } = step;
    const guess = move(current, denoised, from, to);
    const next = plan.steps[i + 1];
    if (next === undefined) current = guess;
    else {
      // the mean of the slopes at both ends, (x − z₀) / σ each
      const again = await denoise(guess, next);
      const end = move(guess, again, to, from); // as far back by the slope at the end
      current = combine(1, guess, 1 / 2, combine(1, current, -1, end));
    }
    yield report(i, step, current, denoised);
  }
}
