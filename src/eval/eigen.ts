/**
 * Eigenvalues and eigenvectors of a symmetric matrix: Householder's reduction to three diagonals, then QL steps with
 * implicit shifts. Cubic in the width; 512 takes about a second.
 *
 * Source: Bowdler, Martin, Reinsch and Wilkinson 1968, Numerische Mathematik 11, the procedures tred2 and tql2.
 */

import { check } from "../core/assert.ts";

/** A square matrix, row by row. */
export interface Square {
  readonly n: number;
  readonly data: Float64Array;
}

export interface Eigen {
  /** Ascending. */
  readonly values: Float64Array;
  /** Row i belongs to value i: unit length, at right angles to the others. */
  readonly vectors: Square;
}

/** Of the symmetric `matrix`; only what lies on and below its diagonal is read. @throws KoalaError E_NAN */
export function eigen({ n, data }: Square): Eigen {
  check(data.every(Number.isFinite), "E_NAN", () => ({
    where: "eigen",
    expected: "a matrix of finite numbers",
    got: "NaN or infinity",
  }));
  const rows = Array.from({ length: n }, (_, i) => data.slice(i * n, (i + 1) * n));
  const { diagonal, beside } = tridiagonal(rows);
  const vectors = transposed(rows);
  ql(diagonal, beside, vectors);
  const order = Array.from(diagonal.keys()).sort((i, j) => (diagonal[i] ?? 0) - (diagonal[j] ?? 0));
  const sorted = new Float64Array(n * n);
  for (const [row, i] of order.entries()) sorted.set(vectors[i] ?? [], row * n);
  return { values: Float64Array.from(order, (i) => diagonal[i] ?? 0), vectors: { n, data: sorted } };
}

type Rows = readonly Float64Array[];

const at = (rows: Rows, i: number): Float64Array => rows[i] as Float64Array;

function transposed(rows: Rows): Float64Array[] {
  return rows.map((_, i) => Float64Array.from(rows, (row) => row[i] ?? 0));
}

/** Makes `a` the orthogonal matrix Q of A = Q T Qᵗ, and gives the diagonal of T and what lies beside it (from 1 on). */
function tridiagonal(a: Rows): { diagonal: Float64Array; beside: Float64Array } {
  const n = a.length;
  const diagonal = new Float64Array(n);
  const beside = new Float64Array(n);
  for (let i = n - 1; i > 0; i--) {
    const row = at(a, i);
    let scale = 0;
    for (let k = 0; k < i; k++) scale += Math.abs(row[k] ?? 0);
    if (i === 1 || scale === 0) {
      beside[i] = row[i - 1] ?? 0;
      diagonal[i] = 0;
      continue;
    }
    let h = 0;
    for (let k = 0; k < i; k++) {
      row[k] = (row[k] ?? 0) / scale; // kept from over- and underflow
      h += (row[k] ?? 0) ** 2;
    }
    const f = row[i - 1] ?? 0;
    const g = f >= 0 ? -Math.sqrt(h) : Math.sqrt(h);
    beside[i] = scale * g;
    h -= f * g;
    row[i - 1] = f - g;
    reflect(a, i, h, beside);
    diagonal[i] = h;
  }
  accumulate(a, diagonal);
  return { diagonal, beside };
}

/** Applies the reflection that row `i` holds, of half squared length `h`, to what lies above it from both sides. */
function reflect(a: Rows, i: number, h: number, p: Float64Array): void {
  const u = at(a, i);
  let fold = 0;
  for (let j = 0; j < i; j++) {
    const row = at(a, j);
    row[i] = (u[j] ?? 0) / h; // for `accumulate`
    let g = 0;
    for (let k = 0; k <= j; k++) g += (row[k] ?? 0) * (u[k] ?? 0);
    for (let k = j + 1; k < i; k++) g += (at(a, k)[j] ?? 0) * (u[k] ?? 0);
    p[j] = g / h;
    fold += (p[j] ?? 0) * (u[j] ?? 0);
  }
  const half = fold / (2 * h);
  for (let j = 0; j < i; j++) {
    const f = u[j] ?? 0;
    const g = (p[j] ?? 0) - half * f;
    p[j] = g;
    const row = at(a, j);
    for (let k = 0; k <= j; k++) row[k] = (row[k] ?? 0) - f * (p[k] ?? 0) - g * (u[k] ?? 0);
  }
}

/** Multiplies the reflections out, in place; moves the diagonal to where it belongs. */
function accumulate(a: Rows, diagonal: Float64Array): void {
  const n = a.length;
  diagonal[0] = 0;
  for (let i = 0; i < n; i++) {
    const row = at(a, i);
    if (diagonal[i] !== 0) {
      for (let j = 0; j < i; j++) {
        let g = 0;
        for (let k = 0; k < i; k++) g += (row[k] ?? 0) * (at(a, k)[j] ?? 0);
        for (let k = 0; k < i; k++) at(a, k)[j] = (at(a, k)[j] ?? 0) - g * (at(a, k)[i] ?? 0);
      }
    }
    diagonal[i] = row[i] ?? 0;
    row[i] = 1;
    for (let j = 0; j < i; j++) {
      at(a, j)[i] = 0;
      row[j] = 0;
    }
  }
}

/** More steps than any value has ever needed; EISPACK stops at 30. */
const mostSteps = 60;

/** Diagonalises in place: `diagonal` becomes the eigenvalues, the rows of `vectors` their vectors. */
function ql(diagonal: Float64Array, beside: Float64Array, vectors: Rows): void {
  const n = diagonal.length;
  beside.copyWithin(0, 1);
  beside[n - 1] = 0;
  for (let l = 0; l < n; l++) {
    for (let step = 0; ; step++) {
      let m = l;
      for (; m < n - 1; m++) {
        const size = Math.abs(diagonal[m] ?? 0) + Math.abs(diagonal[m + 1] ?? 0);
        if (Math.abs(beside[m] ?? 0) <= Number.EPSILON * size) break;
      }
      if (m === l) break;
      check(step < mostSteps, "E_INTERNAL", () => ({
        where: "eigen",
        expected: `a value within ${mostSteps} steps`,
        got: "none",
      }));
      qlStep(diagonal, beside, vectors, l, m);
    }
  }
}

/** One step with Wilkinson's shift on the block from `l` to `m`. */
function qlStep(d: Float64Array, e: Float64Array, vectors: Rows, l: number, m: number): void {
  let g = ((d[l + 1] ?? 0) - (d[l] ?? 0)) / (2 * (e[l] ?? 0));
  let r = Math.hypot(g, 1);
  g = (d[m] ?? 0) - (d[l] ?? 0) + (e[l] ?? 0) / (g + (g >= 0 ? r : -r));
  let [s, c, p] = [1, 1, 0];
  for (let i = m - 1; i >= l; i--) {
    const f = s * (e[i] ?? 0);
    const b = c * (e[i] ?? 0);
    r = Math.hypot(f, g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1] = (d[i + 1] ?? 0) - p; // the block falls apart here
      e[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = (d[i + 1] ?? 0) - p;
    r = ((d[i] ?? 0) - g) * s + 2 * c * b;
    p = s * r;
    d[i + 1] = g + p;
    g = c * r - b;
    rotate(at(vectors, i), at(vectors, i + 1), c, s);
  }
  d[l] = (d[l] ?? 0) - p;
  e[l] = g;
  e[m] = 0;
}

function rotate(v: Float64Array, w: Float64Array, c: number, s: number): void {
  for (let k = 0; k < v.length; k++) {
    const [x, y] = [v[k] as number, w[k] as number];
    w[k] = s * x + c * y;
    v[k] = c * x - s * y;
  }
}
