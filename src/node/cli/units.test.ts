/** Numbers as people read them. */

import { expect, it } from "vitest";
import { table } from "./tables.ts";
import { bytes, flops, grouped, roughSeconds, seconds } from "./units.ts";

it("durations are read at a glance, without a 60th second", () => {
  expect([0.123, 9.96, 59.94, 59.96, 185, 3720].map(seconds)).toEqual([
    ...["0.12 s", "10.0 s", "59.9 s", "1 min 0 s", "3 min 5 s", "1 h 2 min"],
  ]);
  expect([0, 0.2, 8.1, 99.5, 101, 5399, 9000].map(roughSeconds)).toEqual([
    ...["1 s", "1 s", "9 s", "100 s", "2 min", "90 min", "2.5 h"],
  ]);
});

it("sizes are decimal, with three digits", () => {
  expect([0, 999, 1000, 999_999, 612_300_000, 4_644_737_296, 1e18].map(bytes)).toEqual([
    "0 B",
    "999 B",
    "1.00 kB",
    "1.00 MB",
    "612 MB",
    "4.64 GB",
    "1000000 TB",
  ]);
  expect([10, 1_370_000_000, 2.72e12].map(flops)).toEqual(["10 FLOP", "1.37 GFLOP", "2.72 TFLOP"]);
  expect(grouped(782_822_724)).toBe("782,822,724");
});

it("tables line up their columns and end their lines without blanks", () => {
  expect(
    table(
      [
        ["a", "10", "x"],
        ["bcd", "9", ""],
      ],
      [1],
    ),
  ).toBe("a    10  x\nbcd   9\n");
});
