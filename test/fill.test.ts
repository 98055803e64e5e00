/** The fill rule of the tests is that of the oracle, bit for bit: otherwise every other golden would be a riddle. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { fill } from "./fill.ts";

interface Case {
  readonly name: string;
  readonly shape: readonly number[];
  readonly first: readonly number[];
  readonly last: readonly number[];
  readonly bitsSum: number;
}

const golden = JSON.parse(readFileSync(new URL("golden/fill.json", import.meta.url), "utf8")) as {
  readonly cases: readonly Case[];
};

describe("fill", () => {
  test.each(golden.cases)("gives the bits that the oracle gives for $name", ({
    name,
    shape,
    first,
    last,
    bitsSum,
  }) => {
    const bits = [...new Uint32Array(fill(name, shape).buffer)];
    expect(bits.slice(0, first.length)).toEqual(first);
    expect(bits.slice(-last.length)).toEqual(last);
    expect(bits.reduce((a, b) => (a + b) % 2 ** 32, 0)).toBe(bitsSum);
  });

  test("keeps unit variance through a matrix: the variance of its elements is one over fan_in", () => {
    const weight = fill("some.weight", [200, 50]);
    const variance = weight.reduce((sum, v) => sum + v * v, 0) / weight.length;
    expect(variance * 50).toBeCloseTo(1, 1);
  });
});
