import { expect, test } from "vitest";
import { KoalaError } from "../core/errors.ts";
import { labelled, type Target, type Value } from "../graph/op.ts";
import { add, attention, constant, exp, gelu, input, linear, mul, param, silu, tap } from "../ops/index.ts";
import type { DType } from "../tensor/dtype.ts";
import type { Shape } from "../tensor/shape.ts";
import type { StoredTensor } from "../tensor/stored.ts";
import { type LoweredModel, lower } from "./lower.ts";
import type { ProtoModel } from "./proto.ts";
import { nodeTypes, readModel } from "./read.ts";

const stored = (dtype: DType, shape: Shape): StoredTensor => ({
  dtype,
  shape,
  file: null,
  offset: 0,
  byteLength: 0,
});

function lowered(
  outputs: Record<string, Value>,
  weights: Record<string, StoredTensor> = {},
  target: Target = "ort-cpu",
): LoweredModel & { read: ProtoModel } {
  const model = lower(outputs, { target, weights: new Map(Object.entries(weights)) });
  return { ...model, read: readModel(model.bytes) };
}
const types = (model: { read: ProtoModel }): string[] => nodeTypes(model.read).map(([type]) => type);

test("a node is named by its label, and its result by the output", () => {
  const x = input("x", { shape: [2] });
  const y = labelled("down_blocks.0", () => exp(x));
  const { read, inputs, outputs } = lowered({ y });
  expect(read.nodes).toEqual([
    { name: "down_blocks.0/Exp_0", type: "Exp", domain: "", inputs: ["x"], outputs: ["y"], attrs: {} },
  ]);
  expect(read.inputs).toEqual([{ name: "x", dtype: "float32", shape: [2] }]);
  expect(read.outputs).toEqual([{ name: "y", dtype: "float32", shape: [2] }]);
  expect({ inputs, outputs }).toEqual({
    inputs: { x: { dtype: "float32", shape: [2] } },
    outputs: { y: { dtype: "float32", shape: [2] } },
  });
});

test("an output that is an input, or another output, goes through an Identity", () => {
  const x = input("x", { shape: [2] });
  const y = tap("t", exp(x));
  const { read } = lowered({ same: x, a: y, b: y });
  expect(read.nodes.map(({ type, inputs, outputs }) => [type, ...inputs, ...outputs])).toEqual([
    ["Exp", "x", "a"],
    ["Identity", "x", "same"],
    ["Identity", "a", "b"],
  ]);
});

test("equal constants are one initializer, and one value fills a shape", () => {
  const x = input("x", { shape: [2] });
  const c = (): Value => constant([2], [3]);
  const { read } = lowered({ y: add(mul(x, c()), c()) });
  expect(read.initializers).toHaveLength(1);
  expect(read.initializers[0]?.data).toEqual({
    kind: "inline",
    bytes: new Uint8Array(Float32Array.of(3, 3).buffer),
  });
});

test("the two zeros are two initializers", () => {
  const x = input("x", { shape: [2] });
  expect(lowered({ y: add(mul(x, constant([], [0])), constant([], [-0])) }).read.initializers).toHaveLength(
    2,
  );
});

test("constants of every element type have its bytes", () => {
  const cases: [DType, number, number[]][] = [
    ["float16", 1.5, [0x00, 0x3e]],
    ["bfloat16", 1.5, [0xc0, 0x3f]],
    ["int64", -2, [0xfe, 255, 255, 255, 255, 255, 255, 255]],
    ["bool", 1, [1]],
  ];
  for (const [dtype, x, bytes] of cases) {
    const { read } = lowered({ y: constant([], [x], dtype) });
    expect(read.initializers[0]?.data).toEqual({ kind: "inline", bytes: Uint8Array.from(bytes) });
  }
});

test("a weight is cast where it is stored in another type, once", () => {
  const w = param("w", [2]);
  const plain = lowered({ y: exp(w) }, { w: stored("float32", [2]) });
  expect(types(plain)).toEqual(["Exp"]);
  const half = lowered({ y: add(exp(w), param("w", [2])) }, { w: stored("float16", [2]) });
  expect(nodeTypes(half.read)).toEqual([
    ["Add", 1],
    ["Cast", 1],
    ["Exp", 1],
  ]);
  expect(half.read.nodes[0]).toMatchObject({ type: "Cast", inputs: ["w"], attrs: { to: 1n } });
  expect(half.weights).toEqual(["w"]);
  expect(half.read.initializers).toEqual([]);
});

test("contrib kernels are for targets that have them, and only then is their domain imported", () => {
  const x = input("x", { shape: [1, 4, 8] });
  const y = { y: gelu(silu(attention(x, x, x, { heads: 2 }))) };
  const ort = lowered(y);
  expect(types(ort)).toEqual([
    "com.microsoft.Gelu",
    "com.microsoft.MultiHeadAttention",
    "com.microsoft.QuickGelu",
  ]);
  expect(ort.read.opsets).toEqual({ "": 21, "com.microsoft": 1 });
  const portable = lowered(y, {}, "portable");
  expect(types(portable).filter((type) => type.includes("."))).toEqual([]);
  expect(portable.read.opsets).toEqual({ "": 21 });
});

test("a linear layer is one product of matrices", () => {
  const x = input("x", { shape: [1, 4, 8] });
  const w = { w: stored("float32", [3, 8]), b: stored("float32", [3]) };
  expect(nodeTypes(lowered({ y: linear(x, param("w", [3, 8]), param("b", [3])) }, w).read)).toEqual([
    ["Reshape", 2],
    ["Gemm", 1],
  ]);
});

test("a graph deeper than the call stack lowers", () => {
  let y: Value = input("x", { shape: [1] });
  for (let i = 0; i < 20_000; i++) y = exp(y);
  expect(lowered({ y }).read.nodes).toHaveLength(20_000);
});

test("weights that are missing or of another shape are reported together", () => {
  const y = add(param("a.weight", [2]), add(param("b.weight", [2]), param("c.weight", [2])));
  const run = (): unknown =>
    lowered({ y }, { "a.weight": stored("float32", [3]), "b.weight": stored("float32", [2]) });
  expect(run).toThrow(
    new KoalaError("E_WEIGHTS", {
      where: "weights",
      expected: "the 3 tensors that the graph names, in its shapes",
      got: "a.weight [3] for [2], c.weight missing",
    }),
  );
  const many = Array.from({ length: 10 }, (_, i) => param(`w${i}`, [1])).reduce((a, b) => add(a, b));
  expect(() => lowered({ y: many })).toThrow("w7 missing and 2 more [E_WEIGHTS]");
});

test("an output may not take the name of an input", () => {
  const x = input("x", { shape: [1] });
  expect(() => lowered({ x: exp(x) })).toThrow(
    "output x: expected a name that no input and no weight has, got one that is taken [E_GRAPH]",
  );
});
