import { expect, it } from "vitest";
import { toDenoised } from "../diffusion/prediction.ts";
import { interpret } from "../graph/interpret.ts";
import type { NdArray } from "../graph/op.ts";
import { constant } from "../ops/index.ts";
import {
  drawNoise,
  drawTimesteps,
  lossWeight,
  mse,
  noisedBatch,
  stepGenerator,
  targetOf,
  weightedMse,
} from "./objective.ts";

const z0 = Float32Array.of(1, -2, 0.5, 3);
const noise = Float32Array.of(0.3, 0.1, -1, 2);

const predictions = ["epsilon", "v_prediction", "sample"] as const;

it.each(predictions)("the target of %s denoises to the picture", (kind) => {
  const alphasCumprod = [0.9, 0.3];
  const { sample, target } = noisedBatch(z0, noise, [1, 0], {
    ...{ alphasCumprod, prediction: kind, weighting: { kind: "uniform" } },
  });
  for (const [n, alpha] of [0.3, 0.9].entries()) {
    const level = { signal: Math.sqrt(alpha), noise: Math.sqrt(1 - alpha) };
    const part = (x: Float32Array) => x.slice(2 * n, 2 * n + 2);
    const back = toDenoised(kind, part(target), part(sample), level);
    for (const [i, x] of part(z0).entries()) expect(back[i]).toBeCloseTo(x, 5);
  }
  expect(targetOf("epsilon", z0, noise, 0.5)).toBe(noise);
});

it("weighs steps of noise, in each prediction's units", () => {
  const hard = 0.2; // SNR 0.25
  const easy = 0.99; // SNR 99
  const clipped = { kind: "min-snr", gamma: 5 } as const;
  expect(lossWeight("epsilon", hard, clipped)).toBe(1);
  expect(lossWeight("epsilon", easy, clipped)).toBeCloseTo(5 / 99, 10);
  expect(lossWeight("v_prediction", easy, clipped)).toBeCloseTo(5 / 100, 10);
  expect(lossWeight("sample", easy, clipped)).toBe(5);
  expect(lossWeight("epsilon", 0, clipped)).toBe(1);
  expect(lossWeight("v_prediction", 0, clipped)).toBe(0);
  const debiased = { kind: "debiased" } as const;
  expect(lossWeight("epsilon", hard, debiased)).toBeCloseTo(2, 10);
  expect(lossWeight("v_prediction", hard, debiased)).toBeCloseTo(0.5 / 1.25, 10);
  expect(lossWeight("sample", hard, debiased)).toBeCloseTo(0.5, 10);
  for (const kind of predictions) {
    expect(lossWeight(kind, easy, { kind: "uniform" })).toBe(1);
    const ofPureNoise = lossWeight(kind, 0, debiased);
    expect(ofPureNoise).toBeGreaterThan(0);
    expect(ofPureNoise).toBeLessThanOrEqual(100);
  }
  const batch = noisedBatch(z0, noise, [0, 1], {
    alphasCumprod: [0.2, 0.99],
    prediction: "epsilon",
    weighting: clipped,
  });
  expect(batch.weight[0]).toBe(1);
  expect(batch.weight[1]).toBeCloseTo(5 / 99, 6);
});

it("draws the same numbers for the same seed, step and purpose, and others for others", () => {
  const draw = (seed: number, step: number, purpose: string) =>
    drawTimesteps(stepGenerator(seed, step, purpose), 500, 1000);
  expect(draw(1, 2, "steps")).toEqual(draw(1, 2, "steps"));
  for (const other of [draw(2, 2, "steps"), draw(1, 3, "steps"), draw(1, 2, "noise")])
    expect(other).not.toEqual(draw(1, 2, "steps"));
  const steps = draw(1, 2, "steps");
  expect(Math.min(...steps)).toBeLessThan(20);
  expect(Math.max(...steps)).toBeGreaterThan(979);
  expect(steps.every((t) => Number.isInteger(t) && t >= 0 && t < 1000)).toBe(true);
});

it("offset noise moves whole planes", () => {
  const o = { batch: 2, channels: 3, cells: 400 };
  const plain = drawNoise(stepGenerator(1, 1, "noise"), o);
  const moved = drawNoise(stepGenerator(1, 1, "noise"), { ...o, offset: 0.5 });
  const shifts = Array.from(moved, (x, i) => x - (plain[i] ?? 0));
  for (let plane = 0; plane < 6; plane++) {
    const first = shifts[plane * 400] ?? 0;
    for (const x of shifts.slice(plane * 400, plane * 400 + 400)) expect(x).toBeCloseTo(first, 5);
  }
  expect(new Set(shifts.filter((_, i) => i % 400 === 0)).size).toBe(6);
});

it("losses are means of squares, a picture weighed by its weight", () => {
  const a = constant([2, 2], [1, 2, 3, 4]);
  const b = constant([2, 2], [0, 2, 3, 0]);
  const at = (x: Parameters<typeof interpret>[0][number]) =>
    (interpret([x], new Map())[0] as NdArray).data[0];
  expect(at(mse(a, b))).toBeCloseTo(17 / 4, 12);
  expect(at(weightedMse(a, b, constant([2], [1, 3])))).toBeCloseTo((0.5 + 3 * 8) / 2, 12);
});
