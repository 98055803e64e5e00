/** The pictures that nsfwjs was asked about. */

import type { Picture } from "../src/image/pixels.ts";

/** As in scripts/oracle/nsfw-tiny.js. */
export function drawn([kind, width, height]: readonly [number, number, number]): Picture {
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const isInside = Math.hypot(x - width / 2, y - height / 2) < 0.4 * width;
      const ramp = [Math.trunc((255 * x) / (width - 1)), Math.trunc((255 * y) / (height - 1)), 128];
      const disc = isInside ? [224, 172, 140] : [90, 60, 60];
      const noise = [0, 31, 62].map((c) => (7 * x + 13 * y + c) % 256);
      data.set([ramp, disc, noise][kind] ?? [], 3 * (y * width + x));
    }
  return { width, height, data };
}
