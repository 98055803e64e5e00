/** Vectors of pictures and texts in the space that a scorer's towers share. */

export interface Features {
  readonly count: number;
  /** Numbers of a vector. */
  readonly width: number;
  /** [count, width], row by row, as the towers give them: not normalised. */
  readonly data: Float32Array;
}

/** The vector number `i`. */
export const rowOf = ({ data, width }: Features, i: number): Float32Array =>
  data.subarray(i * width, (i + 1) * width);

/** The vectors of these numbers, in this order. */
export function pick(features: Features, numbers: readonly number[]): Features {
  const data = new Float32Array(numbers.length * features.width);
  for (const [n, i] of numbers.entries()) data.set(rowOf(features, i), n * features.width);
  return { count: numbers.length, width: features.width, data };
}

/** Several lots of vectors one after another. */
export function joined(lots: readonly Features[], width: number): Features {
  const data = new Float32Array(lots.reduce((sum, lot) => sum + lot.data.length, 0));
  let at = 0;
  for (const lot of lots) {
    data.set(lot.data, at);
    at += lot.data.length;
  }
  return { count: data.length / width, width, data };
}

/** The cosine of the angle between two vectors, in float64; 0 where one of them has no length. */
export function cosine(a: Float32Array, b: Float32Array): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (const [i, x] of a.entries()) {
    const y = b[i] ?? 0;
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa === 0 || bb === 0 ? 0 : ab / Math.sqrt(aa * bb);
}

/** Cosines of the vectors of the same number in both. */
export const pairedCosines = (a: Features, b: Features): number[] =>
  Array.from({ length: Math.min(a.count, b.count) }, (_, i) => cosine(rowOf(a, i), rowOf(b, i)));
