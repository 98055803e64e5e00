/** Sinusoids against the numbers that diffusers gives. */

import { describe, expect, it } from "vitest";
import { guidanceEmbedding, timestepEmbedding } from "./conditioning.ts";

function expectNear(got: Float32Array, expected: readonly number[]): void {
  expect(got.length).toBe(expected.length);
  for (const [i, x] of expected.entries())
    expect(Math.abs((got[i] ?? Number.NaN) - x), `element ${i}`).toBeLessThan(1e-6);
}

// Expected numbers: diffusers 0.42 with torch 2.13, float32.
describe("timestepEmbedding", () => {
  it("is diffusers' get_timestep_embedding with cosines first, far from zero too", () => {
    expectNear(
      timestepEmbedding([999, 37], 8, { flipSinToCos: true, freqShift: 0 }),
      [
        0.9996498227, 0.8074550629, -0.8444697857, 0.5411435366, -0.0264607519, -0.5899291039, -0.5356031656,
        0.8409302235, 0.7654140592, -0.8481001258, 0.9323273301, 0.9993155599, -0.6435381174, -0.529835999,
        0.3616154492, 0.0369915552,
      ],
    );
  });

  it("puts sines first otherwise, shifts the frequencies and leaves the last of an odd width zero", () => {
    expectNear(
      timestepEmbedding([999], 5, { flipSinToCos: false, freqShift: 1 }),
      [-0.0264607519, 0.0997339115, 0.9996498227, 0.9950141311, 0],
    );
  });
});

describe("guidanceEmbedding", () => {
  it("is that of diffusers' LatentConsistencyModelPipeline", () => {
    expectNear(
      guidanceEmbedding([7.5], 6),
      [-0.8512358665, -0.3877816498, 0.6816387177, -0.5247832537, 0.9217512608, 0.7316889167],
    );
  });
});
