/**
 * How much a transformer layer changes what it gets: the cosine of the features of consecutive layers. In SDXL it rises
 * within the first layers of a stage and then stays, which is why KOALA keeps the early ones (its appendix).
 */

import { check } from "../core/assert.ts";
import { show } from "../tensor/shape.ts";
import { type Tensor, toFloat32 } from "../tensor/tensor.ts";

/** The cosine of two features [N, S, C], token by token, on average. @throws KoalaError E_SHAPE */
export function meanCosine(a: Tensor, b: Tensor): number {
  check(a.shape.length === 3 && a.shape.join() === b.shape.join(), "E_SHAPE", () => ({
    where: "meanCosine",
    expected: "two features [N, S, C] of one shape",
    got: `${show(a.shape)} and ${show(b.shape)}`,
  }));
  const channels = a.shape[2] ?? 1;
  const [x, y] = [toFloat32(a), toFloat32(b)];
  const tokens = x.length / channels;
  let sum = 0;
  for (let t = 0; t < tokens; t++) {
    let [xy, xx, yy] = [0, 0, 0];
    for (let c = t * channels; c < (t + 1) * channels; c++) {
      const [p, q] = [x[c] ?? 0, y[c] ?? 0];
      xy += p * q;
      xx += p * p;
      yy += q * q;
    }
    sum += xy / Math.sqrt(Math.max(xx * yy, Number.MIN_VALUE));
  }
  return sum / tokens;
}

/** One transformer's curve. */
export interface SimilarityCurve {
  readonly stage: string;
  readonly transformer: string;
  /** For each pair (l, l + 1) of L layers: the later layer's index over L − 1, and the cosine. */
  readonly points: readonly { readonly position: number; readonly cosine: number }[];
}
