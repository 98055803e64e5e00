import { expect, it } from "vitest";
import { emaDecay } from "./ema.ts";
import { learningRate, type RateOptions, relativeRate } from "./schedule-lr.ts";

const base: RateOptions = { shape: "constant", peak: 2, steps: 10 };

it("rises over the warm-up as diffusers' schedules do", () => {
  const rate = learningRate({ ...base, warmup: 4 });
  expect([1, 2, 3, 4, 5, 6, 100].map(rate)).toEqual([0, 0.5, 1, 1.5, 2, 2, 2]);
});

it("falls in a line or along a cosine to its end", () => {
  const line = learningRate({ ...base, shape: "linear", warmup: 2, end: 0.5 });
  expect([3, 7, 11, 50].map(line)).toEqual([2, 1.5, 1, 1]);
  const cosine = learningRate({ ...base, shape: "cosine" });
  expect(cosine(1)).toBe(2);
  expect(cosine(6)).toBeCloseTo(1, 12); // half way
  expect(cosine(3)).toBeCloseTo(1 + Math.cos(0.2 * Math.PI), 12);
  expect(cosine(11)).toBeCloseTo(0, 12);
});

it("may be all warm-up", () => {
  expect(learningRate({ ...base, shape: "linear", warmup: 10 })(11)).toBe(0);
});

it("is min(0.01, 1/√step) for Adafactor's relative steps", () => {
  expect(relativeRate(1)).toBe(0.01);
  expect(relativeRate(40000)).toBe(0.005);
});

it.each<[Partial<RateOptions>, string]>([
  [{ peak: 0 }, "learning rate: expected a number above 0, got 0 [E_REQUEST]"],
  [{ steps: 1.5 }, "steps: expected a whole number above 0, got 1.5 [E_REQUEST]"],
  [{ warmup: 11 }, "warm-up: expected a whole number of steps from 0 to 10, got 11 [E_REQUEST]"],
  [{ end: 2 }, "end of the learning rate: expected a share of the peak from 0 to 1, got 2 [E_REQUEST]"],
])("refuses %o", (change, sentence) => {
  expect(() => learningRate({ ...base, ...change })).toThrow(sentence);
});

it("averages copy first and then slow down to the cap, as in diffusers' EMAModel", () => {
  expect([1, 2, 3, 11].map((step) => emaDecay(step, 0.9999))).toEqual([0, 2 / 11, 3 / 12, 11 / 20]);
  expect(emaDecay(1e7, 0.9999)).toBe(0.9999);
});
