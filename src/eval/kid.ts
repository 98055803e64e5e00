/**
 * The kernel distance between two sets of features: the unbiased squared maximum mean discrepancy under the kernel
 * (x·y / width + 1)³, averaged over random subsets. Unlike the Fréchet distance it is honest about small sets; being
 * unbiased, it may come out a little below 0.
 *
 * Source: Bińkowski et al. 2018, arXiv:1801.01401, section 4; there in Inception's features.
 */

import { check } from "../core/assert.ts";
import { TorchGenerator } from "../tensor/random.ts";
import { choose, mean } from "./chance.ts";
import { type Features, pick, rowOf } from "./features.ts";

function kernel(x: Float32Array, y: Float32Array): number {
  let dot = 0;
  for (let i = 0; i < x.length; i++) dot += (x[i] as number) * (y[i] as number);
  return (dot / x.length + 1) ** 3;
}

/** Mean of the kernel over all pairs of two different members. */
function within(a: Features): number {
  let sum = 0;
  for (let i = 0; i < a.count; i++) for (let j = 0; j < i; j++) sum += 2 * kernel(rowOf(a, i), rowOf(a, j));
  return sum / (a.count * (a.count - 1));
}

/** Of two whole sets of at least two members. */
export function kernelDistance(a: Features, b: Features): number {
  let between = 0;
  for (let i = 0; i < a.count; i++)
    for (let j = 0; j < b.count; j++) between += kernel(rowOf(a, i), rowOf(b, j));
  return within(a) + within(b) - (2 * between) / (a.count * b.count);
}

export interface KernelDistance {
  readonly value: number;
  /** Standard deviation over the subsets. */
  readonly deviation: number;
  /** Members of a subset. */
  readonly subset: number;
}

/** The paper's, and those of its successors. */
const subsets = 100;
const largestSubset = 1000;

/**
 * Over 100 subsets of at most 1000, and of no more than half of the smaller set, so that subsets differ.
 * @throws KoalaError E_CONFIG when a side has fewer than four
 */
export function kid(a: Features, b: Features, seed: number): KernelDistance {
  const smaller = Math.min(a.count, b.count);
  check(smaller >= 4, "E_CONFIG", () => ({
    where: "kid",
    expected: "at least 4 pictures on either side",
    got: `${smaller}`,
  }));
  const subset = Math.min(largestSubset, Math.floor(smaller / 2));
  const random = new TorchGenerator(seed);
  const values = Array.from({ length: subsets }, () =>
    kernelDistance(pick(a, choose(a.count, subset, random)), pick(b, choose(b.count, subset, random))),
  );
  const value = mean(values);
  const deviation = Math.sqrt(mean(values.map((x) => (x - value) ** 2)));
  return { value, deviation, subset };
}
