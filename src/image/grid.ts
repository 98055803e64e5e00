/** Several pictures of one size on one sheet. */

import { check } from "../core/assert.ts";
import type { Picture } from "./pixels.ts";

/**
 * The pictures row by row, `columns` beside each other; empty places are black.
 * @throws KoalaError E_SHAPE when the sizes differ
 */
export function grid(
  pictures: readonly Picture[],
  columns: number = Math.ceil(Math.sqrt(pictures.length)),
): Picture {
  const { width = 0, height = 0 } = pictures[0] ?? {};
  const rows = Math.ceil(pictures.length / columns);
  const data = new Uint8Array(3 * columns * width * rows * height);
  for (const [i, picture] of pictures.entries()) {
    check(picture.width === width && picture.height === height, "E_SHAPE", () => ({
      where: `grid (picture ${i})`,
      expected: `${width} x ${height} px like the first picture`,
      got: `${picture.width} x ${picture.height} px`,
    }));
    const top = Math.floor(i / columns) * height;
    const left = (i % columns) * width;
    for (let y = 0; y < height; y++) {
      const row = picture.data.subarray(3 * y * width, 3 * (y + 1) * width);
      data.set(row, 3 * ((top + y) * columns * width + left));
    }
  }
  return { width: columns * width, height: rows * height, data };
}
