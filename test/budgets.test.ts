/** Ceilings. Raising one is argued in the commit that needs it. */

import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, it } from "vitest";

const root = resolve(import.meta.dirname, "..");
const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter((f) =>
  f.endsWith(".ts"),
);
const text = (file: string): string => readFileSync(join(root, "src", file), "utf8");

/** Generated from a schema. */
const exempt = new Set(["onnx/onnx_pb.ts"]);

it("no source file is longer than 500 lines", () => {
  const long = sources.filter((file) => !exempt.has(file) && text(file).split("\n").length > 500);
  expect(long).toEqual([]);
});

it("every source file opens by saying what it is", () => {
  const silent = sources.filter(
    (file) => !file.endsWith(".test.ts") && !/^\/\*\*|^\/\/ @generated|^\/\//.test(text(file)),
  );
  expect(silent).toEqual([]);
});

it("no source file is called utils or helpers", () => {
  expect(sources.filter((file) => /(^|\/)(utils?|helpers?|misc|common)\.ts$/.test(file))).toEqual([]);
});

it("no source file leaves a task behind without an issue number", () => {
  expect(sources.filter((file) => /\b(TODO|FIXME|XXX)\b(?! \(#\d+\))/.test(text(file)))).toEqual([]);
});

it("at most twenty-five packages come along at run time", () => {
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  expect(Object.keys({ ...dependencies, ...optionalDependencies }).length).toBeLessThanOrEqual(25);
});

it("each dependency has its line in docs/decisions", () => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const page = readFileSync(join(root, "docs/decisions/0001-dependencies.md"), "utf8");
  const missing = Object.keys({ ...dependencies, ...devDependencies }).filter(
    (name) => !page.includes(`\`${name}\``),
  );
  expect(missing).toEqual([]);
});
