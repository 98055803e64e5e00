/**
 * A part of a picture in a frame of another size, and back: whole and in its shape in the middle, what is left beside it filled with
 * its edge. Source: diffusers' `_resize_and_fill` of `VaeImageProcessor`, A1111's `resize_image(2, …)`. The way back cuts the same
 * place out; theirs enlarges until the part is covered, which puts it at fractions of a pixel aside.
 */

import type { Region } from "./crop-region.ts";
import type { Picture } from "./pixels.ts";
import { lanczos, resample } from "./resample.ts";

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Pixels of a region that lies in the picture. */
export function cut(picture: Picture, { left, top, width, height }: Region): Picture {
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const start = 3 * ((top + y) * picture.width + left);
    data.set(picture.data.subarray(start, start + 3 * width), 3 * y * width);
  }
  return { width, height, data };
}

/** The picture with `patch` at a place where it fits; the rest keeps its bytes. */
export function put(picture: Picture, patch: Picture, { left, top }: Pick<Region, "left" | "top">): Picture {
  const data = picture.data.slice();
  for (let y = 0; y < patch.height; y++)
    data.set(
      patch.data.subarray(3 * y * patch.width, 3 * (y + 1) * patch.width),
      3 * ((top + y) * picture.width + left),
    );
  return { width: picture.width, height: picture.height, data };
}

/** Where a picture of some size lies in its frame. */
function place(size: Size, frame: Size): Region {
  const isWider = frame.width / frame.height < size.width / size.height;
  const width = isWider ? frame.width : Math.max(1, Math.floor((size.width * frame.height) / size.height));
  const height = isWider ? Math.max(1, Math.floor((size.height * frame.width) / size.width)) : frame.height;
  const [left, top] = [
    Math.floor(frame.width / 2) - Math.floor(width / 2),
    Math.floor(frame.height / 2) - Math.floor(height / 2),
  ];
  return { left, top, width, height };
}

/** The picture in a frame, its edges drawn out to the frame's. */
export function framed(picture: Picture, frame: Size): Picture {
  const { left, top, width, height } = place(picture, frame);
  const inner = resample(picture, width, height, lanczos);
  if (width === frame.width && height === frame.height) return inner;
  const data = new Uint8Array(3 * frame.width * frame.height);
  const inside = (at: number, length: number): number => Math.min(Math.max(at, 0), length - 1);
  for (let y = 0; y < frame.height; y++)
    for (let x = 0; x < frame.width; x++) {
      const from = 3 * (inside(y - top, height) * width + inside(x - left, width));
      data.set(inner.data.subarray(from, from + 3), 3 * (y * frame.width + x));
    }
  return { width: frame.width, height: frame.height, data };
}

/** What `framed` made of a picture of `size`, at that size again. */
export const unframed = (picture: Picture, size: Size): Picture =>
  resample(cut(picture, place(size, picture)), size.width, size.height, lanczos);
