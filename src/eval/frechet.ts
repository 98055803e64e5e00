/**
 * The Fréchet distance between two sets of features, each taken for a normal distribution:
 * |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), in float64.
 *
 * Source: Heusel et al. 2017, arXiv:1706.08500, equation 6. FID is this in Inception's features; ours is in the
 * scorer's, so the numbers compare with each other and not with published FIDs.
 */

import { check } from "../core/assert.ts";
import { eigen, type Square } from "./eigen.ts";
import type { Features } from "./features.ts";

interface Moments {
  readonly mean: Float64Array;
  /** With the divisor N − 1. */
  readonly covariance: Square;
}

function moments({ count, width, data }: Features): Moments {
  check(count >= 2, "E_CONFIG", () => ({
    where: "frechet",
    expected: "at least 2 pictures on either side",
    got: `${count}`,
  }));
  const mean = new Float64Array(width);
  for (const [i, x] of data.entries()) mean[i % width] = (mean[i % width] ?? 0) + x / count;
  const covariance = new Float64Array(width * width);
  const centred = new Float64Array(width);
  for (let row = 0; row < count; row++) {
    for (let i = 0; i < width; i++) centred[i] = (data[row * width + i] ?? 0) - (mean[i] ?? 0);
    for (let i = 0; i < width; i++) {
      const x = (centred[i] ?? 0) / (count - 1);
      for (let j = 0; j <= i; j++)
        covariance[i * width + j] = (covariance[i * width + j] ?? 0) + x * (centred[j] ?? 0);
    }
  }
  for (let i = 0; i < width; i++)
    for (let j = 0; j < i; j++) covariance[j * width + i] = covariance[i * width + j] ?? 0;
  return { mean, covariance: { n: width, data: covariance } };
}

const trace = ({ n, data }: Square): number => {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += data[i * n + i] ?? 0;
  return sum;
};

/** R with RᵗR = the symmetric, non-negative matrix: rows of eigenvectors, each times the root of its value. */
function root(matrix: Square): Square {
  const { values, vectors } = eigen(matrix);
  const { n } = matrix;
  const data = new Float64Array(n * n);
  for (let k = 0; k < n; k++) {
    const scale = Math.sqrt(Math.max(values[k] ?? 0, 0)); // below 0 is rounding
    for (let i = 0; i < n; i++) data[k * n + i] = scale * (vectors.data[k * n + i] ?? 0);
  }
  return { n, data };
}

/** R S Rᵗ, which is symmetric and has the eigenvalues of RᵗR S. */
function conjugated(r: Square, s: Square): Square {
  const { n } = r;
  const half = product(r.data, s.data, n); // S is symmetric: its rows are its columns
  return { n, data: product(half, r.data, n) };
}

/** A Bᵗ, of rows with rows. */
function product(a: Float64Array, b: Float64Array, n: number): Float64Array {
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = a.subarray(i * n, (i + 1) * n);
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += (row[k] as number) * (b[j * n + k] as number);
      out[i * n + j] = sum;
    }
  }
  return out;
}

/** @throws KoalaError E_CONFIG when a side has fewer than two */
export function frechet(a: Features, b: Features): number {
  const [one, two] = [moments(a), moments(b)];
  let apart = 0;
  for (const [i, x] of one.mean.entries()) apart += (x - (two.mean[i] ?? 0)) ** 2;
  // tr (Σ₁ Σ₂)^½ is the sum of the roots of the eigenvalues of Σ₁ Σ₂, which R Σ₂ Rᵗ with RᵗR = Σ₁ has too
  const { values } = eigen(conjugated(root(one.covariance), two.covariance));
  const overlap = values.reduce((sum, value) => sum + Math.sqrt(Math.max(value, 0)), 0);
  return Math.max(0, apart + trace(one.covariance) + trace(two.covariance) - 2 * overlap);
}
