/** The network is nsfwjs's own by what nsfwjs says of it; the policies do what they are called. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { drawn } from "../../../test/nsfw-pictures.ts";
import { KoalaError } from "../../core/errors.ts";
import { psnr } from "../../image/psnr.ts";
import type { KerasModel } from "../../models/keras.ts";
import { judged, nsfwBundle, nsfwClassifier } from "./check.ts";

interface Golden {
  readonly pictures: readonly (readonly [number, number, number])[];
  readonly modelJson: KerasModel;
  readonly weights: string;
  readonly said: readonly Readonly<Record<string, number>>[];
}
const golden = JSON.parse(
  readFileSync(join(import.meta.dirname, "../../../test/golden/nsfw-tiny.json"), "utf8"),
) as Golden;

it("a network of nsfwjs's form says here what it says there", async () => {
  const weights = Buffer.from(golden.weights, "base64");
  const classify = await nsfwClassifier({ version: "", model: golden.modelJson, weights });
  for (const [i, picture] of golden.pictures.entries()) {
    const scores = await classify(drawn(picture));
    for (const [name, expected] of Object.entries(golden.said[i] ?? {}))
      expect(scores[name.toLowerCase() as keyof typeof scores]).toBeCloseTo(expected, 5);
  }
});

it("says which package is wanted where it is not installed", () => {
  expect(() => nsfwBundle("file:///nowhere/at/all.js")).toThrow(
    new KoalaError("E_ENGINE", {
      where: "--nsfw",
      expected: "the package nsfwjs",
      got: "none",
      hint: "It is optional: npm install nsfwjs --legacy-peer-deps (without TensorFlow.js, which is not needed).",
    }),
  );
});

describe("a policy", () => {
  const picture = drawn([2, 64, 64]);
  const says = (porn: number) => ({
    by: "a test",
    classify: async () => ({ drawing: 0, hentai: 0.1, neutral: 0.9 - porn, porn, sexy: 0 }),
  });

  it("leaves what is not explicit as it is, and records the scores", async () => {
    for (const policy of ["flag", "blur", "refuse"] as const) {
      const found = await judged(picture, policy, says(0.3));
      expect(found.picture).toBe(picture);
      expect(found.verdict).toEqual({
        ...{ by: "a test", isExplicit: false, policy },
        scores: { drawing: 0, hentai: 0.1, neutral: 0.6, porn: 0.3, sexy: 0 },
      });
    }
  });

  it("flags, blurs beyond recognition, or refuses", async () => {
    const flagged = await judged(picture, "flag", says(0.6));
    expect(flagged.picture).toBe(picture);
    expect(flagged.verdict.isExplicit).toBe(true);
    const { picture: veiled } = await judged(picture, "blur", says(0.6));
    expect(psnr(veiled, picture)).toBeLessThan(15);
    await expect(judged(picture, "refuse", says(0.6))).rejects.toThrow(
      new KoalaError("E_REFUSED", {
        where: "picture",
        expected: "one that this server may show",
        got: "one that is explicit with a likelihood of 0.70",
        hint: "Another prompt or seed draws another picture.",
      }),
    );
  });
});
