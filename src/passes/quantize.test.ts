import { expect, test } from "vitest";
import { interpret } from "../graph/interpret.ts";
import type { NdArray, Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { verify } from "../graph/verify.ts";
import { add, conv, gather, input, linear, param, tap, transpose } from "../ops/index.ts";
import type { LayerRecipe } from "../tensor/quantized.ts";
import { quantizableLayers, quantize } from "./quantize.ts";

const x = input("x", { shape: [1, 2] });
const picture = input("picture", { shape: [1, 1, 2, 2] });
const ids = input("ids", { shape: [2], dtype: "int64" });
const graph = (): Record<string, Value> => ({
  y: linear(x, param("matrix", [3, 2]), param("bias", [3])),
  z: conv(picture, param("kernel", [2, 1, 2, 2]), null),
  rows: gather(param("table", [4, 3]), ids),
});

const array = (shape: number[], ...data: number[]): NdArray => ({ shape, data: Float64Array.from(data) });
const fed: [string, NdArray][] = [
  ["x", array([1, 2], 0.74, -2)],
  ["picture", array([1, 1, 2, 2], 0.26, -0.5, 1.1, 9)],
  ["ids", array([2], 3, 1)],
  ["bias", array([3], 1, 0, -1)],
];
const run = (
  outputs: Readonly<Record<string, Value>>,
  leaves: readonly [string, NdArray][],
): Record<string, number[]> => {
  verify(Object.values(outputs));
  const results = interpret(Object.values(outputs), new Map([...fed, ...leaves]));
  return Object.fromEntries(Object.keys(outputs).map((name, i) => [name, [...(results[i]?.data ?? [])]]));
};

const half: LayerRecipe = { kind: "channels", input: { scale: 0.5, zero: 10 } };
const blocks: LayerRecipe = { kind: "blocks", bits: 4, block: 16 };
/** Bytes of blocks of 16 numbers, of which only the first few are read. */
const packed = (...rows: number[][]): number[] =>
  rows.flatMap((bytes) => [...bytes, ...new Array(8 - bytes.length).fill(0)]);

test("int8 weights are multiplied by what was rounded to the recipe's steps", () => {
  const outputs = quantize(graph(), { layers: { matrix: half, kernel: half } }, "ort-cpu");
  const { y, z } = run(outputs, [
    ["matrix", array([3, 2], 1, 2, -3, 4, 127, -128)],
    ["matrix_scale", array([3], 1, 0.5, 0.25)],
    ["kernel", array([2, 1, 2, 2], 1, 0, 0, 0, 1, 2, 3, 4)],
    ["kernel_scale", array([2], 1, 2)],
    ["table", array([4, 3], ...new Array(12).fill(0))],
  ]);
  // 0.74 is one step of a half, -2 four; 0.26 is one, -0.5 minus one, 1.1 two, 9 eighteen
  expect(y).toEqual([0.5 - 4 + 1, (-1.5 - 8) / 2, (63.5 + 256) / 4 - 1]);
  expect(z).toEqual([0.5, 2 * (0.5 - 1 + 3 + 36)]);
});

test("a convolution's result is rounded where the recipe says how", () => {
  const output = { scale: 2, zero: 0 };
  const outputs = quantize(graph(), { layers: { kernel: { ...half, output } } }, "ort-cpu");
  const leaves: [string, NdArray][] = [
    ["matrix", array([3, 2], 1, 2, 3, 4, 5, 6)],
    ["kernel", array([2, 1, 2, 2], 1, 0, 0, 0, 0, -1, 0, 1)],
    ["kernel_scale", array([2], -1, 1)],
    ["table", array([4, 3], ...new Array(12).fill(0))],
  ];
  expect(run(outputs, leaves).z).toEqual([0, 10]); // -0.5 lies below 0; 9.5 between 8 and 10
});

test("blocks stand for their numbers in products, convolutions and tables", () => {
  const outputs = quantize(
    graph(),
    { layers: { matrix: blocks, kernel: blocks, table: blocks } },
    "portable",
  );
  const { y, z, rows } = run(outputs, [
    ["matrix", array([3, 1, 8], ...packed([0x9a], [0x08], [0xf7]))],
    ["matrix_scale", array([3, 1], 1, 2, 0.5)],
    ["kernel", array([2, 1, 8], ...packed([0x89, 0x98], [0x88, 0x0f]))],
    ["kernel_scale", array([2, 1], 1, 1)],
    ["table", array([4, 1, 8], ...packed([0], [0xa9, 0x0b], [0], [0x78, 0x06]))],
    ["table_scale", array([4, 1], 1, 10, 1, 1)],
  ]);
  // 0x9a: the first is a - 8 = 2, the second 9 - 8 = 1
  expect(y).toEqual([0.74 * 2 - 2 + 1, 2 * (-2 * -8), 0.5 * (-0.74 - 14) - 1]);
  expect(z).toEqual([0.26 + 9, 1.1 * 7 + 9 * -8]);
  expect(rows).toEqual([0, -1, -2, 10, 20, 30]);
});

test("where no kernel multiplies integers, int8 weights are read and nothing else is rounded", () => {
  const outputs = quantize(graph(), { layers: { matrix: half } }, "ort-webgpu");
  const names = topological(Object.values(outputs)).map(({ op }) => op.name);
  expect(names).not.toContain("quantize");
  const { y } = run(outputs, [
    ["matrix", array([3, 2], 1, 2, -3, 4, 0, 1)],
    ["matrix_scale", array([3], 1, 1, 1)],
    ["kernel", array([2, 1, 2, 2], ...new Array(8).fill(0))],
    ["table", array([4, 3], ...new Array(12).fill(0))],
  ]);
  expect(y).toEqual([0.74 - 4 + 1, 0.74 * -3 - 8, -2 - 1]);
});

test("layers that can be quantized are those that alone read a weight as it is stored", () => {
  const shared = param("shared", [2, 2]);
  const outputs = {
    ...graph(),
    twice: add(linear(x, shared, null), linear(tap("t", x), shared, null)),
    turned: linear(x, transpose(param("turned", [2, 2]), [1, 0]), null),
  };
  expect(quantizableLayers(outputs).map(({ weight, kind }) => [weight, kind])).toEqual([
    ["matrix", "linear"],
    ["kernel", "conv"],
    ["table", "table"],
  ]);
});

test("a table in channels is refused", () => {
  expect(() => quantize(graph(), { layers: { table: half } }, "ort-cpu")).toThrow(
    "table: expected a table stored in blocks, got a scale an output channel [E_WEIGHTS]",
  );
});
