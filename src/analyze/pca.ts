/**
 * The directions in which features differ most, and where each token lies on them: the colours of the paper's figure of
 * self-attention features.
 */

import { check } from "../core/assert.ts";
import { eigen } from "../eval/eigen.ts";
import { show } from "../tensor/shape.ts";
import { type Tensor, toFloat32 } from "../tensor/tensor.ts";

export interface Components {
  /** [S, count], row by row: each token's place on each direction, the strongest first. */
  readonly scores: Float64Array;
  readonly count: number;
  readonly tokens: number;
  /** Share of all variance that each direction has. */
  readonly shares: readonly number[];
}

/**
 * Principal components of one picture's features, the picture `index` of `features` [N, S, C]. A direction's sign is
 * free: here its largest loading is positive.
 * @throws KoalaError E_SHAPE
 */
export function principalComponents(
  features: Tensor,
  o: { readonly index: number; readonly count: number },
): Components {
  const [n = 0, tokens = 0, channels = 0] = features.shape;
  check(
    features.shape.length === 3 && o.index < n && o.count <= Math.min(tokens, channels),
    "E_SHAPE",
    () => ({
      where: "principalComponents",
      expected: `features [N, S, C] with S and C at least ${o.count}`,
      got: show(features.shape),
    }),
  );
  const raw = toFloat32(features).subarray(o.index * tokens * channels, (o.index + 1) * tokens * channels);
  const x = centred(raw, tokens, channels);
  // the smaller of XᵀX and XXᵀ: both have the same eigenvalues other than 0
  const isWide = channels > tokens;
  const side = isWide ? tokens : channels;
  const gram = new Float64Array(side * side);
  const at = (i: number, c: number): number =>
    isWide ? (x[i * channels + c] ?? 0) : (x[c * channels + i] ?? 0);
  const length = isWide ? channels : tokens;
  for (let i = 0; i < side; i++)
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let c = 0; c < length; c++) sum += at(i, c) * at(j, c);
      gram[i * side + j] = sum;
      gram[j * side + i] = sum;
    }
  const { values, vectors } = eigen({ n: side, data: gram });
  const total = values.reduce((sum, v) => sum + Math.max(v, 0), 0);
  const scores = new Float64Array(tokens * o.count);
  const shares: number[] = [];
  for (let p = 0; p < o.count; p++) {
    const row = side - 1 - p;
    const vector = vectors.data.subarray(row * side, (row + 1) * side);
    const loadings = isWide ? loadingsOf(x, vector, tokens, channels) : Float64Array.from(vector);
    const sign = Math.sign(loadings.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0)) || 1;
    for (let s = 0; s < tokens; s++) {
      let sum = 0;
      for (let c = 0; c < channels; c++) sum += (x[s * channels + c] ?? 0) * (loadings[c] ?? 0);
      scores[s * o.count + p] = sign * sum;
    }
    shares.push(total === 0 ? 0 : Math.max(values[row] ?? 0, 0) / total);
  }
  return { scores, count: o.count, tokens, shares };
}

function centred(raw: Float32Array, tokens: number, channels: number): Float64Array {
  const mean = new Float64Array(channels);
  for (let i = 0; i < raw.length; i++)
    mean[i % channels] = (mean[i % channels] ?? 0) + (raw[i] ?? 0) / tokens;
  return Float64Array.from(raw, (v, i) => v - (mean[i % channels] ?? 0));
}

/** The unit direction Xᵀu / ‖Xᵀu‖ that belongs to an eigenvector u of XXᵀ. */
function loadingsOf(x: Float64Array, u: Float64Array, tokens: number, channels: number): Float64Array {
  const loadings = new Float64Array(channels);
  for (let s = 0; s < tokens; s++)
    for (let c = 0; c < channels; c++)
      loadings[c] = (loadings[c] ?? 0) + (x[s * channels + c] ?? 0) * (u[s] ?? 0);
  const norm = Math.sqrt(loadings.reduce((sum, v) => sum + v * v, 0));
  return loadings.map((v) => v / Math.max(norm, Number.MIN_VALUE));
}
