/** Prediction types are inverses of one another at every noise level; moves are exact for the true image. */

import { expect, test } from "vitest";
import { TorchGenerator } from "../tensor/random.ts";
import {
  addNoise,
  fromDenoised,
  inputScale,
  levelOfAlpha,
  levelOfSigma,
  move,
  predictions,
  sigmaOf,
  toDenoised,
} from "./prediction.ts";

const generator = new TorchGenerator(1);
const z0 = generator.randn(64);
const epsilon = generator.randn(64);
const levels = [
  levelOfAlpha(0.9991),
  levelOfAlpha(0.5),
  levelOfAlpha(0.0047),
  levelOfSigma(0.03),
  levelOfSigma(14.6),
];

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, within: number): void {
  const worst = Array.from(expected).reduce(
    (most, v, i) => Math.max(most, Math.abs(v - (actual[i] ?? Number.NaN))),
    0,
  );
  expect(worst).toBeLessThanOrEqual(within);
}

test("every prediction type leads back to the image it was made from, at every level and in both conventions", () => {
  for (const level of levels) {
    const x = addNoise(z0, epsilon, level);
    for (const kind of predictions) {
      const said = fromDenoised(kind, z0, x, level);
      // float32 in and out: an error in x counts sigma times in the image
      expectClose(toDenoised(kind, said, x, level), z0, 3e-6 * Math.max(1, sigmaOf(level)));
    }
    expectClose(fromDenoised("epsilon", z0, x, level), epsilon, 3e-6 * Math.max(1, 1 / sigmaOf(level)));
  }
});

test("v is alpha epsilon minus beta z0 of the variance-preserving pair, whatever the convention of x", () => {
  for (const level of levels) {
    const scale = inputScale(level);
    const v = addNoise(z0, epsilon, { signal: -level.noise * scale, noise: level.signal * scale });
    const x = addNoise(z0, epsilon, level);
    expectClose(fromDenoised("v_prediction", z0, x, level), v, 1e-5 * Math.max(1, 1 / sigmaOf(level)));
    expectClose(toDenoised("v_prediction", v, x, level), z0, 1e-5 * Math.max(1, sigmaOf(level)));
  }
});

test("with nothing left of the image, v and the image itself still say what it is", () => {
  const level = levelOfAlpha(0);
  const x = addNoise(z0, epsilon, level);
  expect(x).toEqual(epsilon);
  expect(
    toDenoised(
      "v_prediction",
      z0.map((v) => -v),
      x,
      level,
    ),
  ).toEqual(z0);
  expect(toDenoised("sample", z0, x, level)).toEqual(z0);
  expect(sigmaOf(level)).toBe(Number.POSITIVE_INFINITY);
});

test("a move with the true image lands on that image under the same noise", () => {
  for (const from of levels) {
    for (const to of [levelOfAlpha(0.7), levelOfAlpha(1)]) {
      expectClose(
        move(addNoise(z0, epsilon, from), z0, from, to),
        addNoise(z0, epsilon, to),
        1e-5 / from.noise,
      );
    }
  }
});

test("a network sees unit variance", () => {
  expect(inputScale(levelOfAlpha(0.3))).toBeCloseTo(1, 12);
  expect(inputScale(levelOfSigma(3))).toBeCloseTo(1 / Math.sqrt(10), 12);
});
