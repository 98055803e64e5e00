/** Colours of latents, learned from decoded ones. */

import { expect, it } from "vitest";
import { FastGenerator } from "../tensor/random.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";
import { ColourFit } from "./colour-fit.ts";
import type { ColourMap } from "./preview.ts";

const truth: ColourMap = {
  weights: [
    [0.3, -0.1, 0.05],
    [0, 0.2, -0.25],
  ],
  bias: [0.1, -0.05, 0.2],
};

const normal = (shape: readonly number[]): Tensor => {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
  new FastGenerator([1, 2, 3, 5]).normal(values, 0.8);
  return float32(shape, values);
};

/** A VAE that is `truth`: each cell becomes 2 x 2 pixels around its colour. */
function decoded(latents: Tensor): Tensor {
  const [n = 0, channels = 0, h = 0, w = 0] = latents.shape;
  const out = new Float32Array(n * 3 * 4 * h * w);
  const values = latents.data as Float32Array;
  for (let i = 0; i < n * 3 * 4 * h * w; i++) {
    const [x, y, plane] = [i % (2 * w), Math.floor(i / (2 * w)) % (2 * h), Math.floor(i / (4 * h * w))];
    const [image, colour] = [Math.floor(plane / 3), plane % 3];
    const cell = Math.floor(y / 2) * w + Math.floor(x / 2);
    let value = truth.bias[colour as 0 | 1 | 2] + (x % 2 === 0 ? 0.02 : -0.02);
    for (let c = 0; c < channels; c++)
      value +=
        (truth.weights[c]?.[colour as 0 | 1 | 2] ?? 0) * (values[(image * channels + c) * h * w + cell] ?? 0);
    out[i] = value;
  }
  return float32([n, 3, 2 * h, 2 * w], out);
}

it("finds the map of a decoder that is linear, over what it has seen in parts", () => {
  const fit = new ColourFit(2);
  for (const side of [6, 8]) {
    const latents = normal([2, 2, side, side]);
    fit.see(latents, decoded(latents));
  }
  const { weights, bias } = fit.map() as ColourMap;
  for (const [r, row] of [...weights, bias].entries())
    for (const [c, value] of row.entries())
      expect(Math.abs(value - ((truth.weights[r] ?? truth.bias)[c] ?? 0))).toBeLessThan(2e-3);
});

it("has no map before it saw anything, and a finite one of a flat picture", () => {
  const fit = new ColourFit(2);
  expect(fit.map()).toBe(null);
  fit.see(float32([1, 2, 1, 1], [0, 0]), float32([1, 3, 2, 2], new Float32Array(12).fill(0.5)));
  expect(fit.map()).toEqual({
    weights: [
      [0, 0, 0],
      [0, 0, 0],
    ],
    bias: [0.5, 0.5, 0.5],
  });
});
