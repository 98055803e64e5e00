/** Pixels of pictures ⇄ tensors in the range that image models speak, -1 to 1. */

import { check } from "../core/assert.ts";
import { show, size } from "../tensor/shape.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";

/** 8-bit RGB pixels, row by row from the top. */
export interface Picture {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** Three bytes a pixel. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/**
 * `pixels` [N, 3, H, W] in -1 to 1 → N pictures; values outside are clamped, halves round to even, NaN is black.
 * @throws KoalaError E_SHAPE
 */
export function toPictures(pixels: Tensor): Picture[] {
  const [n = 0, channels, height = 0, width = 0] = pixels.shape;
  check(pixels.shape.length === 4 && channels === 3, "E_SHAPE", () => ({
    where: "toPictures",
    expected: "pixels [N, 3, H, W]",
    got: show(pixels.shape),
  }));
  const values = toFloat32(pixels);
  const plane = height * width;
  return Array.from({ length: n }, (_, i) => {
    const bytes = new Uint8ClampedArray(3 * plane); // its own conversion clamps and rounds
    for (let c = 0; c < 3; c++) {
      const start = (3 * i + c) * plane;
      for (let p = 0; p < plane; p++) bytes[3 * p + c] = ((values[start + p] ?? 0) / 2 + 0.5) * 255;
    }
    return { width, height, data: new Uint8Array(bytes.buffer) };
  });
}

/**
 * N pictures of one size → [N, 3, H, W] in -1 to 1.
 * @throws KoalaError E_SHAPE when the sizes differ
 */
export function toPixels(pictures: readonly Picture[]): Tensor {
  const { width = 0, height = 0 } = pictures[0] ?? {};
  const shape = [pictures.length, 3, height, width];
  const values = new Float32Array(size(shape));
  const plane = height * width;
  for (const [i, picture] of pictures.entries()) {
    check(picture.width === width && picture.height === height, "E_SHAPE", () => ({
      where: `toPixels (picture ${i})`,
      expected: `${width} x ${height} px like the first picture`,
      got: `${picture.width} x ${picture.height} px`,
    }));
    for (let c = 0; c < 3; c++) {
      const start = (3 * i + c) * plane;
      for (let p = 0; p < plane; p++) values[start + p] = ((picture.data[3 * p + c] ?? 0) / 255) * 2 - 1;
    }
  }
  return float32(shape, values);
}
