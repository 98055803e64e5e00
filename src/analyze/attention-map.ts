/** What attention looks at, from the queries and keys that were tapped: softmax(q kᵀ / √D), Vaswani et al. 2017, section 3.2. */

import { check } from "../core/assert.ts";
import { show } from "../tensor/shape.ts";
import { type Tensor, toFloat32 } from "../tensor/tensor.ts";

export interface MapOptions {
  readonly heads: number;
  /** Number of the picture. */
  readonly index: number;
  /** Absent: all. */
  readonly rows?: readonly number[];
  /** The first so many keys are seen, the others are padding that is masked; absent: all. */
  readonly seen?: number | undefined;
}

/**
 * One picture's attention, on average over heads: `q` [N, S, E] and `k` [N, T, E], the picture `index` of N.
 * Row s of the result [S, keys seen] sums to 1.
 * @throws KoalaError E_SHAPE
 */
export function attentionMap(
  q: Tensor,
  k: Tensor,
  o: MapOptions,
): { readonly rows: readonly Float64Array[]; readonly tokens: number; readonly keys: number } {
  const [n = 0, tokens = 0, width = 0] = q.shape;
  const [, all = 0, keyWidth] = k.shape;
  const keys = Math.min(o.seen ?? all, all);
  const size = width / o.heads;
  check(
    q.shape.length === 3 && width === keyWidth && Number.isInteger(size) && o.index < n,
    "E_SHAPE",
    () => ({
      where: "attentionMap",
      expected: `queries [N, S, E] and keys [N, T, E], E a multiple of ${o.heads} heads`,
      got: `${show(q.shape)} and ${show(k.shape)}`,
    }),
  );
  const queries = toFloat32(q).subarray(o.index * tokens * width, (o.index + 1) * tokens * width);
  const others = toFloat32(k).subarray(o.index * all * width, (o.index + 1) * all * width);
  const wanted = o.rows ?? Array.from({ length: tokens }, (_, s) => s);
  const rows = wanted.map((s) => {
    const mean = new Float64Array(keys);
    const scores = new Float64Array(keys);
    for (let head = 0; head < o.heads; head++) {
      for (let t = 0; t < keys; t++) {
        let dot = 0;
        for (let c = head * size; c < (head + 1) * size; c++)
          dot += (queries[s * width + c] ?? 0) * (others[t * width + c] ?? 0);
        scores[t] = dot / Math.sqrt(size);
      }
      const most = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
      const total = scores.reduce((sum, x) => sum + Math.exp(x - most), 0);
      for (let t = 0; t < keys; t++)
        mean[t] = (mean[t] ?? 0) + Math.exp((scores[t] ?? 0) - most) / total / o.heads;
    }
    return mean;
  });
  return { rows, tokens, keys };
}
