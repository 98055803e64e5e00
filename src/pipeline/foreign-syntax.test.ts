import { expect, it } from "vitest";
import { foreignSyntax } from "./foreign-syntax.ts";

it.each([
  ["a red apple, on a table", []],
  [String.raw`a smile :\), a cat \(black\), \[sic\]`, []],
  ["BREAKFAST on the BRAND", []],
  ["a < b: c", []],
  ["<lora:a:1> <lora:b:0.5> <hypernet:c:1>", ["<lora:a:1> and 2 more"]],
  ["(red:1.2) (a (blue, large: .8) sky:1.1)", []],
  ["((masterpiece)), best", ["(masterpiece)"]],
  ["(red:1.2) (apple) ((pear:0.9))", ["(apple) and 1 more"]],
  ["a [cat:dog:0.5] or [cow|horse]", ["[cat:dog:0.5] and 1 more"]],
  ["a cat AND a dog BREAK night", ["AND and 1 more"]],
  [`(${"very ".repeat(40)}red)`, [`(${"very ".repeat(40)}`.slice(0, 79).concat("…")]],
])("finds in %j what the web UI reads there", (prompt, expected) => {
  expect(foreignSyntax(prompt, "prompt")).toEqual(expected.map((said) => `${said} in the prompt`));
});

it.each(["(", "[", "<a:", "(:1", "(\\(", "(1:"])("is done soon with %j over and over", (piece) => {
  const began = performance.now();
  foreignSyntax(piece.repeat(10_000), "prompt");
  expect(performance.now() - began).toBeLessThan(5000); // 0.02 s alone on its core; a second power would take minutes
});
