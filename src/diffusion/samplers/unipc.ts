/**
 * UniPC, multistep, for what predicts the image: Zhao et al. 2023, arXiv:2302.04867. Every step is predicted (UniP), and corrected
 * by what the network then says at its end (UniC), at no further call.
 */

import { type Denoise, type Plan, report, type SampleStep } from "../plan.ts";
import { halfLogSnr, type NoiseLevel, weighted } from "../prediction.ts";

export interface UnipcOptions {
  readonly order: 1 | 2 | 3;
  /** B(h): h itself, or eʰ − 1. */
  readonly variant: "bh1" | "bh2";
  /** Let the order fall to 1 over the last steps. */
  readonly lowerOrderFinal: boolean;
  /** Indices of steps, of the whole schedule, that are not corrected. */
  readonly uncorrected: readonly number[];
}

/** What the network saw at a level. */
interface Seen {
  readonly denoised: Float32Array;
  readonly level: NoiseLevel;
}

/** From `x` (flat, at the plan's first level) to its last. */
export async function* unipc(
  denoise: Denoise,
  x: Float32Array,
  plan: Plan,
  o: UnipcOptions,
): AsyncGenerator<SampleStep> {
  let current = x;
  /** The x that the last step began with, and its order. */
  let last: { readonly x: Float32Array; readonly order: number } | null = null;
  /** Newest first. */
  let seen: Seen[] = [];
  const skipped = plan.count - plan.steps.length; // of a plan that starts late
  for (const [i, step] of plan.steps.entries()) {
    const denoised = await denoise(current, step);
    const now = { denoised, level: step.from };
    if (last !== null && !o.uncorrected.includes(skipped + i - 1)) {
      current = unified(last.x, seen.slice(0, last.order), step.from, o, now);
    }
    seen = [now, ...seen].slice(0, o.order);
    const falls = o.lowerOrderFinal || step.to.noise === 0;
    const order = Math.min(seen.length, falls ? plan.steps.length - i : o.order);
    last = { x: current, order };
    current = unified(current, seen.slice(0, order), step.to, o);
    yield report(i, step, current, denoised);
  }
}

/**
 * x at the level `to`, from `x` at the level of the newest of `seen` (newest first; as many as the order); with `end`, what the
 * network said there, one order better. Sections 3.1 and 3.2 of the paper, in its appendix's form for what predicts the image.
 */
function unified(
  x: Float32Array,
  [here, ...earlier]: readonly Seen[],
  to: NoiseLevel,
  { variant }: UnipcOptions,
  end?: Seen,
): Float32Array {
  if (here === undefined) return x;
  const start = halfLogSnr(here.level);
  const h = start - halfLogSnr(to); // −h of the paper
  const scale = variant === "bh1" ? h : Math.expm1(h); // B(h)
  const ratios = earlier.map(({ level }) => (start - halfLogSnr(level)) / h);
  const rho = exactWeights(end === undefined ? ratios : [...ratios, 1], h, scale);
  // each counts by its difference to `here` over its distance from it
  const pulls = rho.map((weight, i) => (-to.signal * scale * weight) / (ratios[i] ?? 1));
  const own = -to.signal * Math.expm1(h) - pulls.reduce((sum, pull) => sum + pull, 0);
  return weighted(
    [to.noise / here.level.noise, own, ...pulls],
    [x, here.denoised, ...earlier.map((one) => one.denoised), ...(end === undefined ? [] : [end.denoised])],
  );
}

/**
 * ρ with Σ ρₘ rₘ^(k−1) = k! φₖ₊₁ h / B for k from 1 to the count of ratios (theorem 3.1 of the paper). A lone one is a half, which
 * is exact up to what its order leaves open, as the authors' program has it.
 */
function exactWeights(ratios: readonly number[], h: number, scale: number): number[] {
  if (ratios.length === 1) return [1 / 2];
  let phi = Math.expm1(h) / h - 1;
  let factorial = 1;
  const rows = ratios.map((_, power) => {
    const row = [...ratios.map((ratio) => ratio ** power), (phi * factorial) / scale];
    factorial *= power + 2;
    phi = phi / h - 1 / factorial;
    return row;
  });
  return solve(rows);
}

/** Of equations with their right sides last, by elimination; powers of distinct numbers need no pivots. */
function solve([first, ...rest]: readonly (readonly number[])[]): number[] {
  if (first === undefined) return [];
  const [lead = 1, ...tail] = first;
  const others = solve(
    rest.map(([head = 0, ...row]) => row.map((value, i) => value - (head / lead) * (tail[i] ?? 0))),
  );
  const known = others.reduce((sum, value, i) => sum + value * (tail[i] ?? 0), 0);
  return [((tail.at(-1) ?? 0) - known) / lead, ...others];
}
