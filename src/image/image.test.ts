/** Pictures as arrays, against torch, numpy and diffusers. */

import { describe, expect, it } from "vitest";
import { float32 } from "../tensor/tensor.ts";
import { grid } from "./grid.ts";
import { type Picture, toPictures, toPixels } from "./pixels.ts";
import { preview, sdColours, sdxlColours } from "./preview.ts";
import { psnr } from "./psnr.ts";
import { enlarge } from "./resize.ts";

const picture = (width: number, height: number, bytes: readonly number[]): Picture => ({
  width,
  height,
  data: Uint8Array.from(bytes),
});
/** A grey picture: every value three times. */
const grey = (width: number, height: number, values: readonly number[]): Picture =>
  picture(
    width,
    height,
    values.flatMap((v) => [v, v, v]),
  );

describe("pixels", () => {
  it("round and clamp as diffusers' image processor does", () => {
    // ((x / 2 + 0.5).clamp(0, 1) * 255).round() in torch 2.13 and numpy
    const row = [-1, -0.5, 0, 0.3, 0.999, 1.2, -3];
    const [made] = toPictures(float32([1, 3, 1, 7], [...row, ...row, ...row]));
    expect(made).toEqual(grey(7, 1, [0, 64, 128, 166, 255, 255, 0]));
  });

  it("come back from a tensor as they went in, channels last to planes and back", () => {
    const two = [picture(2, 1, [1, 2, 3, 4, 5, 6]), picture(2, 1, [255, 0, 128, 9, 8, 7])];
    const pixels = toPixels(two);
    expect(pixels.shape).toEqual([2, 3, 1, 2]);
    expect(pixels.data[6]).toBe(1); // red of the second picture's first pixel
    expect(toPictures(pixels)).toEqual(two);
  });

  it("refuse other shapes and mixed sizes", () => {
    expect(() => toPictures(float32([1, 4, 1, 1], [0, 0, 0, 0]))).toThrow(
      "toPictures: expected pixels [N, 3, H, W], got [1, 4, 1, 1] [E_SHAPE]",
    );
    expect(() => toPixels([grey(1, 1, [0]), grey(2, 1, [0, 0])])).toThrow(
      "toPixels (picture 1): expected 1 x 1 px like the first picture, got 2 x 1 px [E_SHAPE]",
    );
  });
});

it("enlarge equals torch's bilinear interpolation", () => {
  // torch 2.13: interpolate([[0, 100, 255], [40, 80, 120]], size=(3, 7), mode="bilinear"), rounded half to even
  const rows = [
    [0, 14.285714, 57.142857, 100, 166.428571, 232.857143, 255],
    [20, 30, 60, 90, 131.785714, 173.571429, 188],
    [40, 45.714286, 62.857143, 80, 97.142857, 114.285714, 120],
  ];
  expect(enlarge(grey(3, 2, [0, 100, 255, 40, 80, 120]), 7, 3)).toEqual(
    grey(7, 3, rows.flat().map(Math.round)),
  );
});

describe("preview", () => {
  it("equals the source's own arithmetic for SDXL", () => {
    // numpy: weights @ [0.61, -1, 0.25, 0.75] + [150, 140, 130] = [200.35, 147.85, 129.1]
    expect(preview(float32([1, 4, 1, 1], [0.61, -1, 0.25, 0.75]), sdxlColours)).toEqual([
      picture(1, 1, [200, 148, 129]),
    ]);
  });

  it("keeps the pictures of a batch and their cells apart", () => {
    const latents = [1, 0, 0, 0, 0, 0, 0, 0, /* second */ 0, 0, 0, 0, 0, 0, 0, 1];
    const [first, second] = preview(float32([2, 4, 1, 2], latents), sdColours);
    const byte = (v: number): number => Math.round((v / 2 + 0.5) * 255);
    expect(first).toEqual(picture(2, 1, [byte(0.298), byte(0.207), byte(0.208), 128, 128, 128]));
    expect(second).toEqual(picture(2, 1, [128, 128, 128, byte(-0.184), byte(-0.271), byte(-0.473)]));
  });

  it("refuses latents of another VAE family", () => {
    expect(() => preview(float32([1, 1, 1, 1], [0]), sdColours)).toThrow(
      "preview: expected latents [N, 4, h, w], got [1, 1, 1, 1] [E_SHAPE]",
    );
  });
});

describe("grid", () => {
  it("fills rows from the left and leaves the rest black", () => {
    const sheet = grid([grey(1, 1, [1]), grey(1, 1, [2]), grey(1, 1, [3])]);
    expect(sheet).toEqual(grey(2, 2, [1, 2, 3, 0]));
    expect(grid([grey(2, 1, [1, 2]), grey(2, 1, [3, 4])], 2)).toEqual(grey(4, 1, [1, 2, 3, 4]));
  });

  it("refuses mixed sizes", () => {
    expect(() => grid([grey(1, 1, [0]), grey(2, 1, [0, 0])])).toThrow(
      "grid (picture 1): expected 1 x 1 px like the first picture, got 2 x 1 px [E_SHAPE]",
    );
  });
});

describe("psnr", () => {
  it("equals its formula in numpy, and is infinite for equal pictures", () => {
    const a = picture(2, 1, [0, 10, 20, 30, 40, 50]);
    expect(psnr(a, picture(2, 1, [1, 10, 22, 30, 44, 50]))).toBeCloseTo(42.690123165176345, 12);
    expect(psnr(a, a)).toBe(Number.POSITIVE_INFINITY);
  });

  it("refuses two sizes", () => {
    expect(() => psnr(grey(1, 1, [0]), grey(2, 1, [0, 0]))).toThrow(
      "psnr: expected two pictures of one size, got 1 x 1 px and 2 x 1 px [E_SHAPE]",
    );
  });
});
