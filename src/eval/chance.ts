/** Draws that a seed decides, and how far a mean may be off: the bootstrap. */

import { TorchGenerator } from "../tensor/random.ts";

/** A whole number below `n`. */
const below = (random: TorchGenerator, n: number): number => Math.floor((random.bits() / 2 ** 32) * n);

/** `k` different numbers below `n`, all alike likely (Fisher and Yates); all of them, shuffled, where there are fewer. */
export function choose(n: number, k: number, random: TorchGenerator): number[] {
  const numbers = Array.from({ length: n }, (_, i) => i);
  const count = Math.min(k, n);
  for (let i = 0; i < count; i++) {
    const j = i + below(random, n - i);
    [numbers[i], numbers[j]] = [numbers[j] ?? 0, numbers[i] ?? 0];
  }
  return numbers.slice(0, count);
}

/** A number with the interval that holds it in 95 of 100 repetitions. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Repetitions: the ends of the interval are then stable to about a hundredth of its width. */
const repetitions = 2000;
const confidence = 0.95;

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, x) => sum + x, 0) / values.length;

/** The value below which a share of them lie, with straight lines between neighbours, as NumPy's `quantile`. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  return low + (at - Math.floor(at)) * ((sorted[Math.ceil(at)] ?? low) - low);
}

/**
 * `statistic` of all `count` members, and its percentile interval over draws of as many members with repetition
 * (Efron and Tibshirani 1993, chapter 13). Statistics of two numbers a member, given by number, stay paired.
 */
export function bootstrap(
  count: number,
  statistic: (members: readonly number[]) => number,
  seed: number,
): Estimate {
  const random = new TorchGenerator(seed);
  const values = Array.from({ length: repetitions }, () =>
    statistic(Array.from({ length: count }, () => below(random, count))),
  ).filter(Number.isFinite); // a ratio has no value where a draw's denominator is 0
  const tail = (1 - confidence) / 2;
  return {
    value: statistic(Array.from({ length: count }, (_, i) => i)),
    low: quantile(values, tail),
    high: quantile(values, 1 - tail),
  };
}

/** The mean of `values` with its interval. */
export const meanEstimate = (values: readonly number[], seed: number): Estimate =>
  bootstrap(values.length, (members) => mean(members.map((i) => values[i] ?? 0)), seed);
