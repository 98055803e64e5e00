/** Crops that change from step to step, of pictures that are kept at one size: CLIP's only augmentation (section 2.4). */

import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import type { Draws } from "../objective.ts";

/**
 * Of each of `pictures` [N, C, H, W] a crop of at least `least` of its sides, anywhere in it, enlarged to the old size
 * (bilinear, half-pixel centres, as PyTorch's `interpolate`). 1 leaves them as they are.
 */
export function cropAgain(pictures: Tensor, least: number, random: Draws): Tensor {
  if (least === 1) return pictures;
  const [count = 0, channels = 0, height = 0, width = 0] = pictures.shape;
  const draws = new Float32Array(3 * count);
  random.uniform(draws, 0, 1);
  const values = toFloat32(pictures);
  const out = new Float32Array(values.length);
  for (let n = 0; n < count; n++) {
    const [size = 0, x = 0, y = 0] = draws.subarray(3 * n, 3 * n + 3);
    const share = least + (1 - least) * size;
    const columns = places(width, share, x);
    const rows = places(height, share, y);
    for (let plane = n * channels; plane < (n + 1) * channels; plane++)
      for (let i = 0; i < height; i++) {
        const above = plane * height * width + (rows.first[i] ?? 0) * width;
        const below = plane * height * width + (rows.next[i] ?? 0) * width;
        const down = rows.part[i] ?? 0;
        for (let j = 0; j < width; j++) {
          const [left, right, along] = [columns.first[j] ?? 0, columns.next[j] ?? 0, columns.part[j] ?? 0];
          const [a, b] = [values[above + left] ?? 0, values[below + left] ?? 0];
          const top = a + along * ((values[above + right] ?? 0) - a);
          const bottom = b + along * ((values[below + right] ?? 0) - b);
          out[(plane * height + i) * width + j] = top + down * (bottom - top);
        }
      }
  }
  return float32(pictures.shape, out);
}

/** Places between two pixels each: `part` of the way from `first` to `next`. */
interface Places {
  readonly first: Int32Array;
  readonly next: Int32Array;
  readonly part: Float32Array;
}

/** Where `side` pixels lie in a crop of `share` of the side whose free room is before it by `start`. */
function places(side: number, share: number, start: number): Places {
  const offset = start * side * (1 - share);
  const exact = Float32Array.from({ length: side }, (_, i) =>
    Math.min(side - 1, Math.max(0, offset + (i + 0.5) * share - 0.5)),
  );
  const first = Int32Array.from(exact);
  return {
    first,
    next: first.map((at) => Math.min(side - 1, at + 1)),
    part: exact.map((at) => at % 1),
  };
}
