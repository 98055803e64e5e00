import { expect, it } from "vitest";
import { quoted } from "./quoted.ts";

it("quotes values as JSON, and numbers that JSON has not", () => {
  const values = [undefined, null, "a", Number.NaN, [1, { a: "b" }]];
  expect(values.map(quoted)).toEqual(["nothing", "null", '"a"', "NaN", '[1,{"a":"b"}]']);
});

it("cuts what is longer than 80 characters", () => {
  expect(quoted("x".repeat(78))).toBe(`"${"x".repeat(78)}"`);
  expect(quoted("x".repeat(79))).toBe(`"${"x".repeat(78)}…`);
});

it("says what kind of value it is where JSON cannot tell it", () => {
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  const deep: unknown = JSON.parse("[".repeat(120_000) + "]".repeat(120_000));
  expect([circle, deep, 1n, () => 1].map(quoted)).toEqual(["object", "array", "bigint", "function"]);
});
