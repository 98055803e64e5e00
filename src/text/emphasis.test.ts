import { expect, it } from "vitest";
import { readEmphasis, withoutEmphasis } from "./emphasis.ts";

/** As "words*weight", joined by "|". */
const read = (prompt: string): string =>
  readEmphasis(prompt)
    .map(({ text, weight }) => (weight === 1 ? text : `${text}*${Number(weight.toFixed(6))}`))
    .join("|");

it.each([
  ["a red apple", "a red apple"],
  ["", ""],
  ["a (red:1.3) apple", "a |red*1.3| apple"],
  ["(red, (big:2):1.5) apple (small: .5 )", "red, *1.5|big*3| apple |small*0.5"],
  ["(red:1) apple", "red apple"],
  ["(a:1.2)(b:1.2)", "ab*1.2"],
  ["(a (plain) word:2)", "a (plain) word*2"],
  ["(words) [words] :) (a:b)", "(words) [words] :) (a:b)"],
  ["(a:1.2", "(a:1.2"],
  ["a:1.2)", "a:1.2)"],
  ["(a:1.2.3) (b:x)", "(a:1.2.3) (b:x)"],
  [String.raw`a smile :\), \(red\:1.2\), (cat \(black\):1.2)`, "a smile :), (red:1.2), |cat (black)*1.2"],
  [String.raw`C:\dir \[a\] \\`, String.raw`C:\dir \[a\] \\`],
  ["(a:-1) (b:+2)", "a*-1| |b*2"],
])("%j is read as %j", (prompt, expected) => {
  expect(read(prompt)).toBe(expected);
});

it("leaves weights out, and escapes in", () => {
  expect(withoutEmphasis(String.raw`a (red (b:2):1.3) \(c\) (d)`)).toBe(String.raw`a red b \(c\) (d)`);
});

it.each(["(", "(:1", ":1)", "\\", ":  "])("is done soon with %j over and over", (piece) => {
  const began = performance.now();
  readEmphasis(piece.repeat(10_000));
  readEmphasis("(".repeat(2500) + piece + ":1)".repeat(2500));
  expect(performance.now() - began).toBeLessThan(5000);
});
