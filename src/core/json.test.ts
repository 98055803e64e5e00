import { expect, it } from "vitest";
import { parseJson } from "./json.ts";

it("Python's infinities and NaN are read, and left alone inside strings", () => {
  const text = '{"a": -Infinity, "b": [Infinity, NaN], "c": "say \\"NaN\\" or -Infinity", "d": 1.5}';
  expect(parseJson(text)).toEqual({
    a: Number.NEGATIVE_INFINITY,
    b: [Number.POSITIVE_INFINITY, null],
    c: 'say "NaN" or -Infinity',
    d: 1.5,
  });
});

it("what is no JSON stays an error", () => {
  expect(() => parseJson("{a: NaN}")).toThrow(SyntaxError);
});
