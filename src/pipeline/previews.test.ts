/** What previews cost: a VAE that is slow beside a step is asked once. And whose colours they have. */

import { expect, it, vi } from "vitest";
import { preview, sdColours, sdxlColours } from "../image/preview.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";
import type { Model } from "./model.ts";
import { Previews } from "./previews.ts";

const parts = {
  vae: { store: { tensors: new Map() }, latentChannels: 1, factor: 2 },
  isXL: false,
} as unknown as Pick<Model, "vae" | "isXL">;

/** Each cell becomes four pixels of its own grey. */
const pixelsOf = ({ data }: Tensor): Tensor => {
  const [a = 0, b = 0] = data as Float32Array;
  const rows = [a, a, b, b, a, a, b, b];
  return float32([1, 3, 2, 4], [...rows, ...rows, ...rows]);
};
/** A decoder that takes `seconds` a picture, from which `previews` learn. */
const decoderOf = (previews: Previews, seconds: number) =>
  vi.fn(async (z: Tensor): Promise<Tensor> => {
    previews.learn(z, pixelsOf(z), seconds);
    return pixelsOf(z);
  });
const latents = float32([1, 1, 1, 2], [-0.5, 0.5]);

it("asks a slow VAE once, and then has its colours at the picture's size", async () => {
  const previews = new Previews(parts);
  const decode = decoderOf(previews, 1);
  const first = await previews.of(latents, 1, decode);
  const second = await previews.of(latents, 1, decode);
  expect(decode).toHaveBeenCalledTimes(1);
  expect([first?.width, first?.height, second?.width, second?.height]).toEqual([4, 2, 4, 2]);
  // the ends of the row are the cells' own greys, to within the ridge of the fit
  const [left = 0, right = 0] = [second?.data[0], second?.data[9]];
  expect(Math.abs(left - 64)).toBeLessThan(3);
  expect(Math.abs(right - 191)).toBeLessThan(3);
});

it("asks a VAE that takes less than a twentieth of a step every time", async () => {
  const previews = new Previews(parts);
  const decode = decoderOf(previews, 0.05);
  for (let step = 0; step < 3; step++) await previews.of(latents, 1, decode);
  expect(decode).toHaveBeenCalledTimes(3);
});

it.each([
  ["SDXL", true, 0.13025, sdxlColours],
  ["PixArt-Σ", false, 0.13025, sdxlColours],
  ["PixArt-α and SD 1", false, 0.18215, sdColours],
])("knows the colours of %s, whose VAE is large", async (_, isXL, scalingFactor, colours) => {
  const weight = { shape: [1024, 1024, 9] };
  const store = { tensors: new Map([["weight", weight]]) };
  const large = { vae: { store, latentChannels: 4, factor: 8, scalingFactor }, isXL };
  const previews = new Previews(large as unknown as typeof parts);
  const four = float32([1, 4, 1, 1], [0.61, -1, 0.25, 0.75]);
  const decode = vi.fn();
  expect(await previews.of(four, 1, decode)).toEqual(preview(four, colours)[0]);
  expect(decode).not.toHaveBeenCalled();
});
