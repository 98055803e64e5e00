/** One picture over another, through a mask. */

import type { Picture } from "./pixels.ts";

/** `above` where `mask` is white, `below` where it is black, mixed between; all of one size. */
export function compose(below: Picture, above: Picture, mask: Picture): Picture {
  const data = new Uint8Array(below.data.length);
  for (let i = 0; i < data.length; i++) {
    const share = (mask.data[i - (i % 3)] ?? 0) / 255;
    data[i] = Math.round((below.data[i] ?? 0) * (1 - share) + (above.data[i] ?? 0) * share);
  }
  return { width: below.width, height: below.height, data };
}
