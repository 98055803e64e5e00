/** Multistep consistency sampling: Luo et al. 2023, arXiv:2310.04378, algorithm 3. */

import { type Denoise, type Noise, type Plan, report, type SampleStep } from "../plan.ts";
import { combine } from "../prediction.ts";
import { clamp } from "./ddim.ts";

/** Standard deviation of the data in the boundary scalings (Luo et al., appendix; diffusers' `sigma_data`). */
const dataSigma = 0.5;

export interface LcmOptions {
  /** What timesteps are multiplied by in the boundary scalings. */
  readonly timestepScaling: number;
  /** Keep the image within ± this. */
  readonly clip: number | null;
}

/**
 * From `x` (flat, at the plan's first level) to a clean image. Every step but the last puts the consistency
 * function's image back under fresh `noise`, at the next level.
 */
export async function* lcm(
  denoise: Denoise,
  x: Float32Array,
  plan: Plan,
  noise: Noise,
  o: LcmOptions,
): AsyncGenerator<SampleStep> {
  let current = x;
  for (const [i, step] of plan.steps.entries()) {
    const predicted = await denoise(current, step);
    const time = step.timestep * o.timestepScaling;
    const norm = time ** 2 + dataSigma ** 2;
    const image = combine(
      time / Math.sqrt(norm),
      o.clip === null ? predicted : clamp(predicted, o.clip),
      dataSigma ** 2 / norm,
      current,
    );
    current = i === plan.steps.length - 1 ? image : combine(step.to.signal, image, step.to.noise, noise());
    yield report(i, step, current, image);
  }
}
