/**
 * Pseudo numerical methods: Liu et al. 2022, arXiv:2202.09778. Linear multistep (PLMS) with a Heun-like start as
 * in latent diffusion, or started by three Runge-Kutta steps (PRK, four calls each) as in the paper.
 * The methods combine what the network said, whatever it predicts; only the combination is turned into an image.
 */

import { type Denoise, type Plan, report, type SampleStep } from "../plan.ts";
import { fromDenoised, move, type Prediction, toDenoised, weighted } from "../prediction.ts";

export interface PndmOptions {
  /** In whose terms the multistep combination is made. */
  readonly prediction: Prediction;
  /** How many of the plan's first steps are stages of Runge-Kutta steps; 0, or 12. */
  readonly rungeKuttaCalls: number;
}

/** Adams-Bashforth coefficients over 1, 2, 3 and 4 predictions, newest first (equation 12 of the paper for four). */
const adamsBashforth: readonly (readonly number[])[] = [
  [1],
  [3 / 2, -1 / 2],
  [23 / 12, -16 / 12, 5 / 12],
  [55 / 24, -59 / 24, 37 / 24, -9 / 24],
];

/** Runge and Kutta's weights of the four stages. */
const rungeKutta = [1 / 6, 1 / 3, 1 / 3, 1 / 6] as const;

/** From `x` (flat, at the plan's first level) to its last. */
export async function* pndm(
  denoise: Denoise,
  x: Float32Array,
  plan: Plan,
  o: PndmOptions,
): AsyncGenerator<SampleStep> {
  let current = x;
  /** The x that the stages of one Runge-Kutta step, or the two calls of the first PLMS step, start from. */
  let start = x;
  let stages: Float32Array[] = [];
  /** Earlier predictions, newest first. */
  let history: Float32Array[] = [];
  for (const [i, step] of plan.steps.entries()) {
    const said = fromDenoised(o.prediction, await denoise(current, step), current, step.at);
    let combined: Float32Array = said;
    if (i < o.rungeKuttaCalls) {
      const stage = i % 4;
      if (stage === 0) {
        start = current;
        stages = [];
        history = [said, ...history];
      }
      stages.push(said);
      if (stage === 3) combined = weighted(rungeKutta, stages);
    } else if (o.rungeKuttaCalls === 0 && i === 1) {
      // the first PLMS step again, from its start, by the mean of the predictions at its two ends
      combined = weighted([1 / 2, 1 / 2], [said, ...history]);
    } else {
      start = current;
      history = [said, ...history].slice(0, 4);
      combined = weighted(adamsBashforth[history.length - 1] ?? [1], history);
    }
    const denoised = toDenoised(o.prediction, combined, start, step.from);
    current = move(start, denoised, step.from, step.to);
    yield report(i, step, current, denoised);
  }
}
