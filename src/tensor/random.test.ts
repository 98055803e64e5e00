/** Random numbers against torch, and against the authors' programs of both generators. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { FastGenerator, fastGenerator, randnBatch, TorchGenerator } from "./random.ts";

/** torch's own kernels differ by 2e-6 (facts of test/golden/randn.json). */
const tolerance = 4e-6;

interface Golden {
  readonly cases: readonly { seed: number; size: number; values: number[] }[];
  readonly streams: readonly { seed: number; sizes: number[]; draws: number[][] }[];
  readonly large: readonly { seed: number; size: number; first: number[]; last: number[]; sum: number }[];
}
const golden: Golden = JSON.parse(
  readFileSync(new URL("../../test/golden/randn.json", import.meta.url), "utf8"),
);

function expectClose(actual: ArrayLike<number>, expected: readonly number[], within = tolerance): void {
  expect(actual.length).toBe(expected.length);
  const worst = expected.reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (actual[i] ?? Number.NaN))),
    0,
  );
  expect(worst).toBeLessThanOrEqual(within);
}

test("a first draw equals torch.randn at every size and seed", () => {
  for (const { seed, size, values } of golden.cases)
    expectClose(new TorchGenerator(seed).randn(size), values);
});

test("draws one after another continue the stream as torch's do, the spare normal of short draws included", () => {
  for (const { seed, sizes, draws } of golden.streams) {
    const generator = new TorchGenerator(seed);
    for (const [i, size] of sizes.entries()) expectClose(generator.randn(size), draws[i] ?? []);
  }
});

test("the latents of a 1024 px picture equal torch's", () => {
  for (const { seed, size, first, last, sum } of golden.large) {
    const values = new TorchGenerator(seed).randn(size);
    expectClose(values.subarray(0, 16), first);
    expectClose(values.subarray(-16), last);
    expect(Math.abs(values.reduce((a, b) => a + b, 0) - sum)).toBeLessThan(size * 1e-6);
  }
});

test("the integers are those of MT19937", () => {
  // Matsumoto and Nishimura's program with init_genrand(5489): its first output, and C++ [rand.predef] names the 10000th
  const generator = new TorchGenerator(5489);
  expect(generator.bits()).toBe(3499211612);
  for (let i = 2; i < 10000; i++) generator.bits();
  expect(generator.bits()).toBe(4123659995);
});

test("only the low 32 bits of a seed count, as in torch", () => {
  expect(new TorchGenerator(2 ** 40 + 3).randn(20)).toEqual(new TorchGenerator(3).randn(20));
});

test("rand takes 24 bits of one draw a value", () => {
  // torch.rand(3, generator=torch.Generator().manual_seed(0))
  expectClose(
    new TorchGenerator(0).rand(3),
    [0.49625658988952637, 0.7682217955589294, 0.08847743272781372],
    0,
  );
});

test("a batch is each generator's own draw, in turn", () => {
  const batch = randnBatch([new TorchGenerator(1), new TorchGenerator(2)], 36);
  expect(batch.subarray(0, 36)).toEqual(new TorchGenerator(1).randn(36));
  expect(batch.subarray(36)).toEqual(new TorchGenerator(2).randn(36));
});

test("a seed that is no whole number from 0 on is refused", () => {
  const sentence = (seed: number) =>
    `seed: expected a whole number from 0 to 9007199254740991, got ${seed} [E_REQUEST]`;
  for (const seed of [-1, 0.5, Number.NaN, 2 ** 53]) {
    expect(() => new TorchGenerator(seed)).toThrow(sentence(seed));
    expect(() => fastGenerator(seed, "w")).toThrow(sentence(seed));
  }
});

test("the generator for weights is xoshiro128++", () => {
  // first outputs of the authors' program from the state 1, 2, 3, 4
  const expected = [641, 1573767, 3222811527, 3517856514, 836907274, 4247214768, 3867114732, 1355841295];
  const out = new Float32Array(expected.length);
  new FastGenerator([1, 2, 3, 4]).uniform(out, 0, 1);
  expect([...out]).toEqual(expected.map((bits) => (bits >>> 8) * 2 ** -24));
});

test("weights are uniform or normal as asked, alike for one seed and name, unlike for two", () => {
  const n = 200_000;
  const uniform = new Float32Array(n);
  fastGenerator(7, "conv_in.weight").uniform(uniform, -0.5, 0.5);
  expect(Math.min(...uniform.subarray(0, 1000))).toBeGreaterThanOrEqual(-0.5);
  expect(moments(uniform).mean).toBeCloseTo(0, 2);
  expect(moments(uniform).variance).toBeCloseTo(1 / 12, 3);

  const normal = new Float32Array(n + 1);
  fastGenerator(7, "conv_in.weight").normal(normal, 2);
  expect(moments(normal).mean).toBeCloseTo(0, 1);
  expect(moments(normal).variance / 4).toBeCloseTo(1, 1);
  expect(Math.abs(normal[n] ?? 0)).toBeGreaterThan(0);

  const draw = (seed: number, name: string) => {
    const out = new Float32Array(4);
    fastGenerator(seed, name).uniform(out, 0, 1);
    return [...out];
  };
  expect(draw(7, "a")).toEqual(draw(7, "a"));
  const different = [draw(7, "a"), draw(7, "b"), draw(8, "a"), draw(7 + 2 ** 32, "a")].map(String);
  expect(new Set(different).size).toBe(4);
});

test("a tensor may be filled in pieces", () => {
  const whole = new Float32Array(10);
  fastGenerator(1, "w").normal(whole, 1);
  const pieces = new Float32Array(10);
  const generator = fastGenerator(1, "w");
  generator.normal(pieces.subarray(0, 4), 1);
  generator.normal(pieces.subarray(4), 1);
  expect(pieces).toEqual(whole);
});

function moments(values: Float32Array): { mean: number; variance: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return { mean, variance: values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length };
}
