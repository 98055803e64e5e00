/**
 * What of a picture is drawn where only the surroundings of a mask are: the mask's bounding box, padded, then widened to the shape
 * that is drawn, as far as the picture goes.
 *
 * Source: diffusers' `VaeImageProcessor.get_crop_region` (src/diffusers/image_processor.py), which is A1111's `get_crop_region` and
 * `expand_crop_region` (modules/masking.py).
 */

import type { Picture } from "./pixels.ts";

/** In pixels of a picture. */
export interface Region {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** From the first pixel to the one after the last. */
type Span = readonly [from: number, to: number];

/** Where a mask is not black; null: nowhere. */
function bounds({ width, height, data }: Picture): { across: Span; down: Span } | null {
  let [left, right, top, bottom] = [width, 0, height, 0];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      if (data[3 * (y * width + x)] === 0) continue;
      left = Math.min(left, x);
      right = Math.max(right, x + 1);
      top = Math.min(top, y);
      bottom = y + 1;
    }
  return right === 0 ? null : { across: [left, right], down: [top, bottom] };
}

const padded = ([from, to]: Span, by: number, most: number): Span => [
  Math.max(from - by, 0),
  Math.min(to + by, most),
];

/** To a length, on both sides alike; pushed back into the picture where it leaves it, and cut where it is longer than that. */
function widened([from, to]: Span, length: number, most: number): Span {
  const more = Math.trunc(length - (to - from)); // as Python's int()
  const start = from - Math.floor(more / 2);
  const back = Math.max(0, start + (to - from) + more - most);
  const pushed = Math.max(0, start - back);
  return [pushed, Math.min(pushed + (to - from) + more, most)];
}

/**
 * The part of the picture of `mask` that is drawn at `size` pixels, with so many pixels of padding around the mask; null for a mask
 * that is black all over. Red alone of the mask is read.
 */
export function cropRegion(
  mask: Picture,
  size: { readonly width: number; readonly height: number },
  padding: number,
): Region | null {
  const found = bounds(mask);
  if (found === null) return null;
  let across = padded(found.across, padding, mask.width);
  let down = padded(found.down, padding, mask.height);
  const [width, height] = [across[1] - across[0], down[1] - down[0]];
  const ratio = size.width / size.height;
  if (width / height > ratio) down = widened(down, width / ratio, mask.height);
  else across = widened(across, height * ratio, mask.width);
  return { left: across[0], top: down[0], width: across[1] - across[0], height: down[1] - down[0] };
}
