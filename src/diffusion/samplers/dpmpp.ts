/**
 * DPM-Solver++, multistep: Lu et al. 2022, arXiv:2211.01095, algorithm 2, up to the third order; and the same with fresh
 * noise at every step (SDE-DPM-Solver++, section 5).
 */

import { type Denoise, type Noise, type Plan, report, type SampleStep } from "../plan.ts";
import { halfLogSnr, type NoiseLevel, weighted } from "../prediction.ts";

export interface DpmOptions {
  /** 1 is DDIM. */
  readonly order: 1 | 2 | 3;
  /** How the second order is integrated: with the slope at the middle of the step, or along it. */
  readonly solver: "midpoint" | "heun";
  /** Solve the stochastic equation; of the first and second order. */
  readonly isStochastic: boolean;
  /** Of fewer than 15 steps, take the last by the first order and the one before by the second at most. */
  readonly lowerOrderFinal: boolean;
  /** Take the last step by the first order, however many there are. */
  readonly eulerAtFinal: boolean;
}

/** What the network saw at a level. */
interface Seen {
  readonly denoised: Float32Array;
  readonly from: NoiseLevel;
}

/** From `x` (flat, at the plan's first level) to its last; draws `noise` once a step where it is stochastic. */
export async function* dpmpp(
  denoise: Denoise,
  x: Float32Array,
  plan: Plan,
  noise: Noise,
  o: DpmOptions,
): AsyncGenerator<SampleStep> {
  const isShort = o.lowerOrderFinal && plan.count < 15;
  let current = x;
  /** Newest first. */
  let seen: Seen[] = [];
  for (const [i, step] of plan.steps.entries()) {
    const denoised = await denoise(current, step);
    seen = [{ denoised, from: step.from }, ...seen].slice(0, o.order);
    const left = plan.steps.length - i;
    // no length has the last step by a curve of levels that is told to end at the least, where it is already
    const h = halfLogSnr(step.to) - halfLogSnr(step.from);
    const endsPlainly = left === 1 && (o.eulerAtFinal || isShort || step.to.noise === 0 || h === 0);
    const most = endsPlainly ? 1 : left === 2 && isShort ? 2 : o.order;
    const decay = (step.to.noise / step.from.noise) * (o.isStochastic ? Math.exp(-h) : 1);
    const used = seen.slice(0, most);
    const pull = seriesWeights(used, h, o).map((weight) => weight * step.to.signal);
    const fresh = step.to.noise * Math.sqrt(-Math.expm1(-2 * h));
    current = weighted(
      [decay, ...pull, ...(o.isStochastic ? [fresh] : [])],
      [current, ...used.map((one) => one.denoised), ...(o.isStochastic ? [noise()] : [])],
    );
    yield report(i, step, current, denoised);
  }
}

/**
 * What each of `seen` (newest first; as many as the order) counts in the image that a step of `h` in λ heads for, in units
 * of the signal at its end: the integral of the polynomial through them.
 */
function seriesWeights(seen: readonly Seen[], h: number, o: DpmOptions): number[] {
  const k = o.isStochastic ? 2 * h : h;
  const whole = -Math.expm1(-k); // 1 − e^−k
  const [here, before, earlier] = seen.map(({ from }) => halfLogSnr(from));
  if (here === undefined || before === undefined) return [whole];
  const r = (here - before) / h;
  const slope = 1 - whole / k; // of D₁, taken along the step
  if (earlier === undefined) {
    const ofD1 = (o.solver === "heun" ? slope : whole / 2) / r;
    return [whole + ofD1, -ofD1];
  }
  // D₁ and D₂ of the paper in terms of the differences (m₀ − m₁) / r and (m₁ − m₂) / s
  const s = (before - earlier) / h;
  const bend = (whole - k) / k ** 2 + 1 / 2;
  const ofNewer = (slope * (1 + r / (r + s)) + bend / (r + s)) / r;
  const ofOlder = (-slope * (r / (r + s)) - bend / (r + s)) / s;
  return [whole + ofNewer, ofOlder - ofNewer, -ofOlder];
}
