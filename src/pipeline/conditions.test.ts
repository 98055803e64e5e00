/** The numbers that SDXL is told of a picture's size. */

import { expect, it } from "vitest";
import { goldenJson } from "../../test/golden.ts";
import { timestepEmbedding } from "../models/conditioning.ts";
import { unetConfig } from "../models/unet-config.ts";
import { toFloat32 } from "../tensor/tensor.ts";
import { sizeFeatures } from "./conditions.ts";
import { type RequestInput, resolveRequest } from "./request.ts";

const defaults = { steps: 1, guidance: 1, width: 64, height: 40, scheduler: "euler", spacing: "trailing" };
const config = unetConfig(goldenJson("families/sdxl/unet/config.json"));

const features = (o: Partial<RequestInput>, batch = 1): number[] => {
  const t = sizeFeatures(resolveRequest({ prompt: "", ...o }, defaults), config, batch);
  return t === null ? [] : [...toFloat32(t)];
};

const of = (...numbers: number[]): number[] => [
  ...timestepEmbedding(numbers, config.added?.sizeChannels ?? 0, config.sinusoid),
];

// diffusers' `_get_add_time_ids`: original_size + crops_coords_top_left + target_size, each with the vertical number first
it("are the original height and width, the crop's top and left, the target's height and width", () => {
  const told = {
    originalSize: { width: 11, height: 12 },
    crop: { left: 13, top: 14 },
    targetSize: { width: 15, height: 16 },
  };
  expect(features(told)).toEqual(of(12, 11, 14, 13, 16, 15));
});

it("are the picture's own size without a crop, where the request says nothing", () => {
  expect(features({})).toEqual(of(40, 64, 0, 0, 40, 64));
});

it("are the same for both halves of a guided batch", () => {
  expect(features({}, 2)).toEqual([...features({}), ...features({})]);
});

it("are not told to a U-Net that does not ask", () => {
  const sd = unetConfig(goldenJson("families/sd15/unet/config.json"));
  expect(sizeFeatures(resolveRequest({ prompt: "" }, defaults), sd, 1)).toBeNull();
});
