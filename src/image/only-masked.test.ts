/** What is cut out around a mask, brought to a size and back; and colours of the surroundings under a mask. */

import { describe, expect, it } from "vitest";
import { cropRegion } from "./crop-region.ts";
import { fillMasked } from "./fill-masked.ts";
import { cut, framed, put, unframed } from "./frame.ts";
import type { Picture } from "./pixels.ts";
import { psnr } from "./psnr.ts";
import { lanczos, resample } from "./resample.ts";

type Four = readonly [left: number, top: number, width: number, height: number];

/** Each pixel grey, by its place. */
const grey = (width: number, height: number, at: (x: number, y: number) => number): Picture => ({
  ...{ width, height },
  data: Uint8Array.from({ length: 3 * width * height }, (_, i) => {
    const pixel = Math.floor(i / 3);
    return at(pixel % width, Math.floor(pixel / width));
  }),
});

/** White in a rectangle. */
const maskOf = (width: number, height: number, [left, top, across, down]: Four, value = 255): Picture =>
  grey(width, height, (x, y) => (x >= left && x < left + across && y >= top && y < top + down ? value : 0));

const reds = ({ width, data }: Picture): number[][] =>
  Array.from({ length: data.length / (3 * width) }, (_, y) =>
    Array.from({ length: width }, (_, x) => data[3 * (y * width + x)] ?? 0),
  );

describe("a mask's surroundings", () => {
  // diffusers' get_crop_region (src/diffusers/image_processor.py), its lines run on the same masks with numpy
  it.each<[string, [number, number], Four, [number, number], number, Four]>([
    ["a wide mask becomes square", [200, 100], [90, 40, 20, 10], [512, 512], 0, [90, 35, 20, 20]],
    ["with padding on all sides", [200, 100], [90, 40, 20, 10], [512, 512], 16, [74, 19, 52, 52]],
    ["pushed down from the upper edge", [200, 100], [10, 5, 100, 8], [512, 512], 0, [10, 0, 100, 100]],
    ["pushed in from the corner", [200, 100], [190, 90, 6, 9], [512, 256], 4, [172, 86, 28, 14]],
    ["pushed in from the left, tall", [200, 100], [0, 30, 3, 40], [256, 768], 7, [0, 23, 18, 54]],
    ["never more than the picture", [200, 100], [20, 10, 150, 70], [512, 512], 32, [0, 0, 200, 100]],
    ["one pixel", [128, 128], [0, 0, 1, 1], [128, 128], 0, [0, 0, 1, 1]],
    ["in odd shapes", [301, 211], [17, 101, 55, 23], [1216, 832], 13, [4, 85, 81, 55]],
    ["from edge to edge", [200, 100], [60, 0, 20, 100], [512, 512], 0, [20, 0, 100, 100]],
  ])("%s", (_, [w, h], white, [width, height], padding, [left, top, across, down]) => {
    const region = cropRegion(maskOf(w, h, white), { width, height }, padding);
    expect(region).toEqual({ left, top, width: across, height: down });
  });

  it("begins with what is hardly grey, and is not there for a black mask", () => {
    const size = { width: 64, height: 64 };
    expect(cropRegion(maskOf(9, 9, [4, 2, 2, 2], 1), size, 1)).toEqual({
      ...{ left: 3, top: 1, width: 4, height: 4 },
    });
    expect(cropRegion(maskOf(9, 9, [0, 0, 0, 0]), size, 5)).toBeNull();
  });
});

it("lanczos is PIL's, byte for byte", () => {
  // Pillow 12.3: Image.resize((8, 5), LANCZOS) and (2, 2) of this
  const rows = [
    [0, 100, 255, 30, 60],
    [40, 80, 120, 200, 10],
    [5, 250, 7, 90, 140],
  ];
  const picture = grey(5, 3, (x, y) => rows[y]?.[x] ?? 0);
  expect(reds(resample(picture, 8, 5, lanczos))).toEqual([
    [0, 19, 124, 255, 205, 18, 20, 82],
    [16, 24, 87, 201, 208, 107, 42, 32],
    [37, 53, 82, 98, 162, 206, 89, 0],
    [16, 103, 191, 74, 49, 139, 125, 89],
    [0, 128, 255, 90, 0, 62, 136, 161],
  ]);
  expect(reds(resample(picture, 2, 2, lanczos))).toEqual([
    [96, 109],
    [95, 106],
  ]);
});

describe("a part of a picture", () => {
  const picture = grey(6, 4, (x, y) => 10 * x + y);

  it("is cut out and put back where it was", () => {
    const region = { left: 2, top: 1, width: 3, height: 2 };
    const part = cut(picture, region);
    expect(reds(part)).toEqual([
      [21, 31, 41],
      [22, 32, 42],
    ]);
    expect(put(picture, part, region)).toEqual(picture);
    const changed = put(
      picture,
      grey(3, 2, () => 255),
      region,
    );
    expect(reds(changed)[1]).toEqual([1, 11, 255, 255, 255, 51]);
    expect(reds(picture)[1]).toEqual([1, 11, 21, 31, 41, 51]); // itself as it was
  });

  it("of another shape than its frame lies in the middle, between its edges drawn out", () => {
    const tall = grey(2, 4, (x, y) => 100 * x + 10 * y);
    expect(reds(framed(tall, { width: 6, height: 4 }))).toEqual(
      [0, 1, 2, 3].map((y) => [0, 0, 0, 100, 100, 100].map((v) => v + 10 * y)),
    );
    const wide = grey(4, 1, (x) => 50 * x);
    expect(reds(framed(wide, { width: 4, height: 4 }))).toEqual(Array(4).fill([0, 50, 100, 150]));
  });

  it.each([
    [{ width: 60, height: 40 }, 6],
    [{ width: 64, height: 64 }, 6],
    [{ width: 24, height: 64 }, 4],
  ])("comes back from a frame of %j nearly as it was", (frame, most) => {
    const smooth = grey(12, 8, (x, y) => 20 * x + 4 * y);
    const back = unframed(framed(smooth, frame), smooth);
    expect([back.width, back.height]).toEqual([12, 8]);
    expect(Math.max(...back.data.map((v, i) => Math.abs(v - (smooth.data[i] ?? 0))))).toBeLessThan(most);
  });
});

describe("colours of the surroundings", () => {
  it("are A1111's", () => {
    // `fill` of modules/masking.py with Pillow 12.3, on this picture and mask
    const picture: Picture = {
      ...{ width: 8, height: 6 },
      data: Uint8Array.from(
        Array.from({ length: 48 }, (_, i) => [
          (i % 8) * 30,
          Math.floor(i / 8) * 40,
          i % 8 < 4 ? 200 : 50,
        ]).flat(),
      ),
    };
    const mask = grey(8, 6, (x, y) => (x < 2 || x > 5 || y < 1 || y > 4 ? 0 : y === 4 ? 128 : 255));
    const expected = [
      ...[55, 53, 171, 85, 53, 141, 123, 53, 108, 156, 53, 79],
      ...[54, 86, 170, 87, 85, 142, 123, 85, 109, 155, 86, 78],
      ...[54, 122, 171, 87, 123, 142, 124, 123, 108, 156, 122, 79],
      ...[57, 155, 184, 88, 156, 171, 121, 156, 79, 153, 155, 65],
    ];
    const filled = fillMasked(picture, mask);
    const inside = cut(filled, { left: 2, top: 1, width: 4, height: 4 }).data;
    // theirs are rounded to bytes in between
    expect(Math.max(...inside.map((v, i) => Math.abs(v - (expected[i] ?? 0))))).toBeLessThanOrEqual(3);
    const outside = put(filled, cut(picture, { left: 2, top: 1, width: 4, height: 4 }), { left: 2, top: 1 });
    expect(outside).toEqual(picture);
  });

  it("of one colour are that colour, and none are black", () => {
    const flat = grey(40, 40, () => 77);
    expect(fillMasked(flat, maskOf(40, 40, [5, 5, 30, 30]))).toEqual(flat);
    expect(
      fillMasked(
        flat,
        grey(40, 40, () => 255),
      ),
    ).toEqual(grey(40, 40, () => 0));
  });

  it("go over from one side to the other", () => {
    const halves = grey(64, 16, (x) => (x < 32 ? 0 : 200));
    const filled = reds(fillMasked(halves, maskOf(64, 16, [16, 0, 32, 16])))[8] ?? [];
    expect(filled.slice(0, 16)).toEqual(Array(16).fill(0));
    expect(filled[20]).toBeLessThan(filled[31] ?? 0);
    expect(filled[31]).toBeLessThan(filled[43] ?? 0);
    expect(
      psnr(
        grey(64, 16, (x) => filled[x] ?? 0),
        halves,
      ),
    ).toBeGreaterThan(10);
  });
});
