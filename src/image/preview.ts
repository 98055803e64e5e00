/**
 * Rough pictures of latents without the VAE: one linear map from latent channels to colours, a pixel a latent cell.
 * Good enough to see what a picture will be, thousands of times cheaper than decoding it.
 */

import { check } from "../core/assert.ts";
import { show } from "../tensor/shape.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { type Picture, toPictures } from "./pixels.ts";

/** Colour = bias + Σ latent · weights, in -1 to 1; latents as the U-Net sees them (times the VAE's scaling factor). */
export interface ColourMap {
  /** One row a latent channel: its share of red, green and blue. */
  readonly weights: readonly (readonly [number, number, number])[];
  readonly bias: readonly [number, number, number];
}

/** Stable Diffusion 1 and 2. Weights measured on v1.4: https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204/2 */
export const sdColours: ColourMap = {
  weights: [
    [0.298, 0.207, 0.208],
    [0.187, 0.286, 0.173],
    [-0.158, 0.189, 0.264],
    [-0.184, -0.271, -0.473],
  ],
  bias: [0, 0, 0],
};

/** From the 0-to-255 colours of the source of `sdxlColours` to -1 to 1. */
const fromBytes = (r: number, g: number, b: number): [number, number, number] => [
  r / 127.5,
  g / 127.5,
  b / 127.5,
];

/** SDXL and its relatives. https://huggingface.co/docs/diffusers/using-diffusers/callback, "Display image after each generation step" */
export const sdxlColours: ColourMap = {
  weights: [fromBytes(60, 60, 60), fromBytes(-60, -5, 10), fromBytes(25, 15, -5), fromBytes(-70, -50, -35)],
  bias: fromBytes(150 - 127.5, 140 - 127.5, 130 - 127.5),
};

/**
 * `latents` [N, L, h, w] → N pictures of w x h pixels.
 * @throws KoalaError E_SHAPE when the map is for another number of channels
 */
export function preview(latents: Tensor, colours: ColourMap): Picture[] {
  const [n = 0, channels = 0, h = 0, w = 0] = latents.shape;
  check(latents.shape.length === 4 && channels === colours.weights.length, "E_SHAPE", () => ({
    where: "preview",
    expected: `latents [N, ${colours.weights.length}, h, w]`,
    got: show(latents.shape),
  }));
  const values = toFloat32(latents);
  const plane = h * w;
  const pixels = new Float32Array(n * 3 * plane);
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) {
      const out = pixels.subarray((3 * i + c) * plane, (3 * i + c + 1) * plane).fill(colours.bias[c] ?? 0);
      for (const [channel, row] of colours.weights.entries()) {
        const weight = row[c] ?? 0;
        const start = (i * channels + channel) * plane;
        for (let p = 0; p < plane; p++) out[p] = (out[p] ?? 0) + weight * (values[start + p] ?? 0);
      }
    }
  }
  return toPictures(float32([n, 3, h, w], pixels)); // [N, 3, h, w]
}
