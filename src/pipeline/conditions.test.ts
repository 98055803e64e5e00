/** The numbers that SDXL is told of a picture's size, and where a word stands among a prompt's tokens. */

import { describe, expect, it } from "vitest";
import { goldenJson } from "../../test/golden.ts";
import { timestepEmbedding } from "../models/conditioning.ts";
import { unetConfig } from "../models/unet-config.ts";
import { toFloat32 } from "../tensor/tensor.ts";
import { positionsOf, sizeFeatures } from "./conditions.ts";
import type { TextEncoder } from "./networks.ts";
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

describe("a word's positions", () => {
  /** As CLIP counts: a token a word or sign, and one at either end. */
  const tokenizer: TextEncoder["tokenizer"] = {
    maxLength: 77,
    encode: (text) => {
      const { length } = text.match(/[\p{L}\p{M}\p{N}]+|[^\s\p{L}\p{M}\p{N}]+/gu) ?? [];
      return { ids: [], length: length + 2, cut: "" };
    },
  };
  const at = (prompt: string, word: string): number[] =>
    positionsOf({ prepare: (text) => text, tokenizer }, prompt, word);

  it.each([
    ["a scared red bird", "red", [3]],
    ["scattered cat", "cat", [2]],
    ["A Red bird", "rED", [2]],
    ["a (red) bird", "red", [3]],
    ["a red bird, a red cat", " red cat ", [6, 7]],
    ["Österreich im Öl", "öl", [3]],
    ["half-red C++ art", "c++", [4, 5]],
    ["a half-red (C|C) [^.$*?{}/\\\\]", "half-red (c|c) [^.$*?{}/\\\\]", [2, 3, 4, 5, 6, 7, 8, 9, 10]],
  ])("in %j of %j", (prompt, word, positions) => {
    expect(at(prompt, word)).toEqual(positions);
  });

  it.each([
    ["a scared bird", "red"],
    ["a red bird", ""],
    ["a red bird", " "],
    ["a red bird", "r.d"],
    ["a cafe\u0301", "cafe"], // an accent of its own
  ])("in %j of %j are none", (prompt, word) => {
    expect(at(prompt, word)).toEqual([]);
  });
});
