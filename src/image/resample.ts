/**
 * Resizing of pictures as PIL does it, byte for byte: CLIP's towers were trained on pictures made small so, and diffusers brings
 * pictures to start from to their size so.
 *
 * Source: Pillow's `Resample.c` (`precompute_coeffs`, `ImagingResampleHorizontal_8bpc`): the filter widens with the
 * shrinking, weights are fixed-point numbers of 22 bits, and the width is rounded to bytes before the height. (Pillow 13
 * begins with the height for some shapes, which moves a byte by a few levels.)
 */

import type { Picture } from "./pixels.ts";

export interface Filter {
  /** In pixels of the smaller of source and result. */
  readonly support: number;
  /** Weight of a pixel so far from the centre, in the same. */
  at(distance: number): number;
}

/** Of the cubic convolution, PIL's choice (Keys 1981). */
const a = -0.5;
/** Bits of a weight after the point: 32 − 8 of a byte − 2 of headroom. */
const one = 2 ** 22;

function cubic(at: number): number {
  const x = Math.abs(at);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

const bicubic: Filter = { support: 2, at: cubic };
export const lanczos: Filter = { support: 3, at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) };

interface Axis {
  /** First source pixel of each result pixel. */
  readonly first: readonly number[];
  /** Fixed-point weights of the source pixels from there on. */
  readonly weights: readonly (readonly number[])[];
}

function axis(from: number, to: number, filter: Filter): Axis {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const reach = filter.support * stretch;
  const first: number[] = [];
  const weights: number[][] = [];
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    const raw = Array.from({ length: end - start }, (_, k) =>
      filter.at((k + start - centre + 0.5) * (1 / stretch)),
    );
    const sum = raw.reduce((total, w) => total + w, 0);
    first.push(start);
    weights.push(raw.map((w) => Math.trunc((w / sum) * one + (w < 0 ? -0.5 : 0.5))));
  }
  return { first, weights };
}

const byte = (fixed: number): number => Math.min(255, Math.max(0, Math.floor((fixed + one / 2) / one)));

/** Every line of `lines` × `from` pixels becomes `to` pixels; `step` is between pixels of a line, `stride` between lines. */
function along(
  source: Uint8Array,
  out: Uint8Array,
  { first, weights }: Axis,
  o: {
    readonly lines: number;
    readonly step: number;
    readonly stride: readonly [source: number, out: number];
  },
): void {
  for (let line = 0; line < o.lines; line++) {
    for (const [i, row] of weights.entries()) {
      const start = line * o.stride[0] + (first[i] ?? 0) * o.step;
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (const [k, w] of row.entries()) sum += w * (source[start + k * o.step + c] ?? 0);
        out[line * o.stride[1] + i * o.step + c] = byte(sum);
      }
    }
  }
}

/** The picture at `width` x `height` pixels: PIL's `Image.resize((width, height), filter)`, whose own filter is the bicubic one. */
export function resample(picture: Picture, width: number, height: number, filter: Filter = bicubic): Picture {
  let { data } = picture;
  if (width !== picture.width) {
    const wide = new Uint8Array(3 * width * picture.height);
    const stride = [3 * picture.width, 3 * width] as const;
    along(data, wide, axis(picture.width, width, filter), { lines: picture.height, step: 3, stride });
    data = wide;
  }
  if (height !== picture.height) {
    const tall = new Uint8Array(3 * width * height);
    along(data, tall, axis(picture.height, height, filter), {
      lines: width,
      step: 3 * width,
      stride: [3, 3],
    });
    data = tall;
  }
  return { width, height, data };
}
