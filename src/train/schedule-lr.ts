/** Learning rates as functions of the step, counted from 1. Source of the shapes: diffusers' `optimization.py`. */

import { check, unreachable } from "../core/assert.ts";

/** The learning rate of a step, counted from 1. */
export type Rate = (step: number) => number;

export type RateShape = "constant" | "linear" | "cosine";

export interface RateOptions {
  readonly shape: RateShape;
  /** The highest rate. */
  readonly peak: number;
  /** Steps over which the rate rises from 0 to `peak`; default 0. */
  readonly warmup?: number;
  /** Steps of the whole run: where `linear` and `cosine` reach their end. */
  readonly steps: number;
  /** The rate at the end, as a share of `peak`; default 0. */
  readonly end?: number;
}

/**
 * Warm-up, then one of the shapes; after `steps` the rate stays.
 * As in diffusers the first step of a warm-up has the rate 0, and step `warmup + 1` the peak.
 * @throws KoalaError E_REQUEST when a number is out of range
 */
export function learningRate({ shape, peak, warmup = 0, steps, end = 0 }: RateOptions): Rate {
  check(peak > 0 && Number.isFinite(peak), "E_REQUEST", () => ({
    where: "learning rate",
    expected: "a number above 0",
    got: `${peak}`,
  }));
  check(Number.isInteger(steps) && steps > 0, "E_REQUEST", () => ({
    where: "steps",
    expected: "a whole number above 0",
    got: `${steps}`,
  }));
  check(Number.isInteger(warmup) && warmup >= 0 && warmup <= steps, "E_REQUEST", () => ({
    where: "warm-up",
    expected: `a whole number of steps from 0 to ${steps}`,
    got: `${warmup}`,
  }));
  check(end >= 0 && end <= 1, "E_REQUEST", () => ({
    where: "end of the learning rate",
    expected: "a share of the peak from 0 to 1",
    got: `${end}`,
  }));
  return (step) => {
    const done = step - 1;
    if (done < warmup) return (peak * done) / warmup;
    const progress = steps === warmup ? 1 : Math.min((done - warmup) / (steps - warmup), 1);
    return peak * (end + (1 - end) * fall(shape, progress));
  };
}

/** From 1 at the beginning to 0 at the end. */
function fall(shape: RateShape, progress: number): number {
  switch (shape) {
    case "constant":
      return 1;
    case "linear":
      return 1 - progress;
    case "cosine":
      return (1 + Math.cos(Math.PI * progress)) / 2;
    default:
      return unreachable(shape, "learningRate");
  }
}

/** Adafactor's own rate, min(10⁻², 1/√step), for use with its parameter scale: Shazeer and Stern 2018, section 8. */
export const relativeRate: Rate = (step) => Math.min(1e-2, 1 / Math.sqrt(step));
