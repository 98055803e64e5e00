/**
 * The colours of the surroundings under a mask: the picture without what is masked, blurred less and less, each over the one before
 * as far as it reaches. Source: `fill` in modules/masking.py of AUTOMATIC1111/stable-diffusion-webui, with PIL's Gaussian blur, three
 * boxes (`ImagingGaussianBlur` in Pillow's BoxBlur.c; Gwosdek et al. 2011, equations 7, 11 and 14). Numbers here are not rounded to
 * bytes on the way, as theirs are: some levels of difference far inside a mask, where theirs see next to nothing of the picture.
 */

import type { Picture } from "./pixels.ts";

/** Standard deviations in pixels, and how often each lies over what is there. Source: the same. */
const layers: readonly (readonly [sigma: number, times: number])[] = [
  [256, 1],
  [64, 1],
  [16, 2],
  [4, 4],
  [2, 2],
  [0, 1],
];

/** Boxes that stand for one Gaussian. */
const boxes = 3;

/** Half the length of each box, less its middle. */
function boxRadius(sigma: number): number {
  const variance = sigma ** 2 / boxes;
  const whole = Math.floor((Math.sqrt(12 * variance + 1) - 1) / 2);
  const part = ((2 * whole + 1) * (whole * (whole + 1) - 3 * variance)) / (6 * (variance - (whole + 1) ** 2));
  return whole + part;
}

/** One plane of numbers, [height, width] flat. */
type Plane = Float32Array;

/**
 * Every column through a box, from `source` to `out`; beyond its ends a column goes on as it ends. Sums run in float64, so that what
 * comes and goes leaves no trace, and for all columns at once, which reads what lies side by side.
 */
function box(source: Plane, out: Plane, width: number, radius: number): void {
  const height = source.length / width;
  const whole = Math.floor(radius);
  const weight = 1 / (2 * radius + 1);
  const part = (radius - whole) * weight;
  const row = (y: number): number => width * Math.min(Math.max(y, 0), height - 1);
  const sums = new Float64Array(width);
  for (let y = -whole; y <= whole; y++) {
    const at = row(y);
    for (let x = 0; x < width; x++) sums[x] = (sums[x] ?? 0) + (source[at + x] ?? 0);
  }
  for (let y = 0; y < height; y++) {
    const [before, first, after] = [row(y - whole - 1), row(y - whole), row(y + whole + 1)];
    for (let x = 0; x < width; x++) {
      const sum = sums[x] ?? 0;
      const next = source[after + x] ?? 0;
      out[y * width + x] = sum * weight + ((source[before + x] ?? 0) + next) * part;
      sums[x] = sum + next - (source[first + x] ?? 0);
    }
  }
}

/** Rows as columns. */
function transposed(plane: Plane, width: number): Plane {
  const height = plane.length / width;
  const out = new Float32Array(plane.length);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) out[x * height + y] = plane[y * width + x] ?? 0;
  return out;
}

/** Every column of a plane through the boxes. */
function blurredDown(plane: Plane, width: number, radius: number): Plane {
  let [from, to] = [plane.slice(), new Float32Array(plane.length)];
  for (let pass = 0; pass < boxes; pass++) {
    box(from, to, width, radius);
    [from, to] = [to, from];
  }
  return from;
}

function blurred(plane: Plane, width: number, sigma: number): Plane {
  const radius = boxRadius(sigma);
  const down = transposed(blurredDown(plane, width, radius), width);
  const height = plane.length / width;
  return transposed(blurredDown(down, height, radius), height);
}

/**
 * The picture with what is white in the mask in the colours around it, its black as it is, grey mixed; both of one size. All of it
 * masked: black.
 */
export function fillMasked({ width, height, data: bytes }: Picture, mask: Picture): Picture {
  const cells = width * height;
  /** Red, green and blue in their shares, and these. */
  const planes = Array.from({ length: 4 }, () => new Float32Array(cells));
  for (const [c, plane] of planes.entries())
    for (let i = 0; i < cells; i++) {
      const share = 1 - (mask.data[3 * i] ?? 0) / 255;
      plane[i] = c === 3 ? share : share * (bytes[3 * i + c] ?? 0);
    }
  const sums = planes.map(() => new Float32Array(cells));
  for (const [sigma, times] of layers) {
    const above = sigma === 0 ? planes : planes.map((plane) => blurred(plane, width, sigma));
    const shares = above[3] as Plane;
    for (const [c, sum] of sums.entries()) {
      const plane = above[c] as Plane;
      for (let time = 0; time < times; time++)
        for (let i = 0; i < cells; i++) sum[i] = (sum[i] ?? 0) * (1 - (shares[i] ?? 0)) + (plane[i] ?? 0);
    }
  }
  const data = new Uint8Array(3 * cells);
  const shares = sums[3] as Plane;
  for (const [c, sum] of sums.slice(0, 3).entries())
    for (let i = 0; i < cells; i++) {
      const share = shares[i] ?? 0;
      data[3 * i + c] = share === 0 ? 0 : Math.min(255, Math.round((sum[i] ?? 0) / share));
    }
  return { width, height, data };
}
