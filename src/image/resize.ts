/** Bilinear enlarging, pixel centres at halves: `torch.nn.functional.interpolate(mode="bilinear")`. Not for shrinking. */

import type { Picture } from "./pixels.ts";

/** Along one axis: the two source pixels of each result pixel, and the share of the second. */
function taps(from: number, to: number): { first: Int32Array; second: Int32Array; share: Float64Array } {
  const first = new Int32Array(to);
  const second = new Int32Array(to);
  const share = new Float64Array(to);
  for (let i = 0; i < to; i++) {
    const at = Math.max(0, ((i + 0.5) * from) / to - 0.5);
    first[i] = Math.min(Math.floor(at), from - 1);
    second[i] = Math.min(Math.floor(at) + 1, from - 1);
    share[i] = at - Math.floor(at);
  }
  return { first, second, share };
}

/** The picture at `width` x `height` pixels, both no smaller than its own. */
export function enlarge(picture: Picture, width: number, height: number): Picture {
  const x = taps(picture.width, width);
  const y = taps(picture.height, height);
  const bytes = new Uint8ClampedArray(3 * width * height);
  const at = (row: number, column: number, c: number): number =>
    picture.data[3 * (row * picture.width + column) + c] ?? 0;
  for (let i = 0; i < height; i++) {
    const [top, bottom, down] = [y.first[i] ?? 0, y.second[i] ?? 0, y.share[i] ?? 0];
    for (let j = 0; j < width; j++) {
      const [left, right, across] = [x.first[j] ?? 0, x.second[j] ?? 0, x.share[j] ?? 0];
      for (let c = 0; c < 3; c++) {
        const above = at(top, left, c) * (1 - across) + at(top, right, c) * across;
        const below = at(bottom, left, c) * (1 - across) + at(bottom, right, c) * across;
        bytes[3 * (i * width + j) + c] = above * (1 - down) + below * down;
      }
    }
  }
  return { width, height, data: new Uint8Array(bytes.buffer) };
}
