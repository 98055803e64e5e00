/**
 * The linear map from latents to colours, learned from what a VAE makes of some: least squares over all cells that were
 * seen, the newest most, each with the mean colour of the pixels that it became.
 */

import { type Tensor, toFloat32 } from "../tensor/tensor.ts";
import type { ColourMap } from "./preview.ts";

/** What all that was seen before counts beside the newest: a guess after the first step is not like a picture. */
const MEMORY = 0.25;
/** Keeps the solution small where what was seen does not determine it; in units of a latent's variance. */
const RIDGE = 1e-3;

export class ColourFit {
  /** Of a cell: its latents and 1. */
  readonly #terms: number;
  /** Σ x xᵀ and Σ x yᵀ over the cells, row by row. */
  readonly #products: Float64Array;
  readonly #targets: Float64Array;
  #cells = 0;

  constructor(channels: number) {
    this.#terms = channels + 1;
    this.#products = new Float64Array(this.#terms ** 2);
    this.#targets = new Float64Array(this.#terms * 3);
  }

  /** `latents` [N, L, h, w] and what the VAE made of them, `pixels` [N, 3, H, W] in -1 to 1; H and W are multiples of h and w. */
  see(latents: Tensor, pixels: Tensor): void {
    const [n = 0, channels = 0, h = 0, w = 0] = latents.shape;
    const colours = cellMeans(pixels, h, w);
    const values = toFloat32(latents);
    const x = new Float64Array(this.#terms).fill(1);
    for (const sums of [this.#products, this.#targets])
      for (const at of sums.keys()) sums[at] = MEMORY * (sums[at] ?? 0);
    for (let cell = 0; cell < n * h * w; cell++) {
      const [i, at] = [Math.floor(cell / (h * w)), cell % (h * w)];
      for (let c = 0; c < channels; c++) x[c] = values[(i * channels + c) * h * w + at] ?? 0;
      for (const [r, row] of x.entries()) {
        for (const [c, column] of x.entries()) add(this.#products, r * this.#terms + c, row * column);
        for (let c = 0; c < 3; c++)
          add(this.#targets, 3 * r + c, row * (colours[(i * 3 + c) * h * w + at] ?? 0));
      }
    }
    this.#cells = MEMORY * this.#cells + n * h * w;
  }

  /** The map that fits best; null before anything was seen. */
  map(): ColourMap | null {
    if (this.#cells === 0) return null;
    const matrix = this.#products.slice();
    for (let i = 0; i < this.#terms - 1; i++) add(matrix, i * this.#terms + i, RIDGE * this.#cells);
    const solved = solve(matrix, this.#targets.slice(), this.#terms);
    const row = (r: number): [number, number, number] => [
      solved[3 * r] ?? 0,
      solved[3 * r + 1] ?? 0,
      solved[3 * r + 2] ?? 0,
    ];
    const weights = Array.from({ length: this.#terms - 1 }, (_, r) => row(r));
    return { weights, bias: row(this.#terms - 1) };
  }
}

function add(to: Float64Array, at: number, value: number): void {
  to[at] = (to[at] ?? 0) + value;
}

/** `pixels` [N, 3, H, W] → means over h x w equal cells [N, 3, h, w]; not clamped, which would flatten the map. */
function cellMeans(pixels: Tensor, h: number, w: number): Float64Array {
  const [n = 0, , height = 0, width = 0] = pixels.shape;
  const [tall, wide] = [height / h, width / w];
  const values = toFloat32(pixels);
  const out = new Float64Array(n * 3 * h * w);
  for (let at = 0; at < values.length; at++) {
    const [plane, y, x] = [Math.floor(at / (height * width)), Math.floor(at / width) % height, at % width];
    add(
      out,
      plane * h * w + Math.floor(y / tall) * w + Math.floor(x / wide),
      (values[at] ?? 0) / (tall * wide),
    );
  }
  return out;
}

/** Solves A X = B for a symmetric positive definite A [n, n] and B [n, 3], by elimination; both are overwritten. */
function solve(a: Float64Array, b: Float64Array, n: number): Float64Array {
  const get = (m: Float64Array, at: number): number => m[at] ?? 0;
  for (let k = 0; k < n; k++) {
    for (let r = 0; r < n; r++) {
      if (r === k) continue;
      const factor = get(a, r * n + k) / get(a, k * n + k);
      for (let c = k; c < n; c++) add(a, r * n + c, -factor * get(a, k * n + c));
      for (let c = 0; c < 3; c++) add(b, 3 * r + c, -factor * get(b, 3 * k + c));
    }
  }
  return b.map((value, at) => value / get(a, Math.floor(at / 3) * (n + 1)));
}
