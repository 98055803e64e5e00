/** How alike two pictures are. */

import { check } from "../core/assert.ts";
import type { Picture } from "./pixels.ts";

/**
 * Peak signal-to-noise ratio in dB over all bytes: 10 log10(255² / mean squared difference); equal pictures give Infinity.
 * @throws KoalaError E_SHAPE when the sizes differ
 */
export function psnr(a: Picture, b: Picture): number {
  check(a.width === b.width && a.height === b.height, "E_SHAPE", () => ({
    where: "psnr",
    expected: "two pictures of one size",
    got: `${a.width} x ${a.height} px and ${b.width} x ${b.height} px`,
  }));
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += ((a.data[i] ?? 0) - (b.data[i] ?? 0)) ** 2;
  return 10 * Math.log10(255 ** 2 / (sum / a.data.length));
}
