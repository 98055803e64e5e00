/** DPM-Solver++ of the second order, multistep: Lu et al. 2022, arXiv:2211.01095, algorithm 2 (midpoint form). */

import { type Denoise, type Plan, report, type SampleStep } from "../plan.ts";
import { combine, move, type NoiseLevel } from "../prediction.ts";

export interface DpmOptions {
  /** 1 is DDIM. */
  readonly order: 1 | 2;
  /** Take the last of fewer than 15 steps by the first order. */
  readonly lowerOrderFinal: boolean;
  /** Take the last step by the first order, however many there are. */
  readonly eulerAtFinal: boolean;
}

/** λ: half the logarithm of the signal-to-noise ratio. */
const halfLogSnr = (level: NoiseLevel): number => Math.log(level.signal / level.noise);

/** From `x` (flat, at the plan's first level) to its last. */
export async function* dpmpp2m(
  denoise: Denoise,
  x: Float32Array,
  plan: Plan,
  o: DpmOptions,
): AsyncGenerator<SampleStep> {
  const count = plan.steps.length;
  let current = x;
  let before: { readonly denoised: Float32Array; readonly from: NoiseLevel } | null = null;
  for (const [i, step] of plan.steps.entries()) {
    const denoised = await denoise(current, step);
    const endsPlainly =
      i === count - 1 && (o.eulerAtFinal || (o.lowerOrderFinal && count < 15) || step.to.noise === 0);
    let target = denoised;
    if (o.order === 2 && before !== null && !endsPlainly) {
      const here = halfLogSnr(step.from);
      const ratio = (halfLogSnr(step.to) - here) / (here - halfLogSnr(before.from));
      target = combine(1 + ratio / 2, denoised, -ratio / 2, before.denoised);
    }
    current = move(current, target, step.from, step.to);
    before = { denoised, from: step.from };
    yield report(i, step, current, denoised);
  }
}
