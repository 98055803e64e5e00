/** Prompts of the web UI with their weights written out, which mean the same there. */

import { expect, it } from "vitest";
import { withWrittenWeights } from "./a1111-prompt.ts";

it.each([
  ["a red apple, on a table", "a red apple, on a table"],
  ["(red) apple", "(red:1.1) apple"],
  ["((red)) apple", "((red:1.1):1.1) apple"],
  ["[red] apple", "(red:0.9091) apple"],
  ["(a [b (c:1.3)])", "(a (b (c:1.3):0.9091):1.1)"],
  ["(red:1.3) (a:b)", "(red:1.3) (a:b:1.1)"],
  [String.raw`\(red\) \[blue\] (a \) b)`, String.raw`\(red\) [blue] (a \) b:1.1)`],
  ["[cat:dog:0.5] [cat|dog] [:dog: .5 ]", "[cat:dog:0.5] [cat|dog] [:dog: .5 ]"],
  ["[cat:(dog):0.5]", "[cat:(dog:1.1):0.5]"],
  ["a (b [c", "a (b (c:0.9091):1.1)"],
  ["a) b] :1.2)", "a) b] :1.2)"],
  ["a BREAK (b) AND c <lora:d:0.8>", "a BREAK (b:1.1) AND c <lora:d:0.8>"],
  ["", ""],
])("%j as %j", (prompt, written) => {
  expect(withWrittenWeights(prompt)).toBe(written);
});

it.each(["(", "[", "(:1", "[a", ":1 ", "\\"])("is done soon with %j over and over", (piece) => {
  const began = performance.now();
  withWrittenWeights(piece.repeat(10_000));
  withWrittenWeights(piece.repeat(2500) + "])".repeat(2500));
  expect(performance.now() - began).toBeLessThan(5000);
});
