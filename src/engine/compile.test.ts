import { afterAll, expect, test } from "vitest";
import { KoalaError } from "../core/errors.ts";
import { labelled, type Value } from "../graph/op.ts";
import { ortEngine } from "../node/ort-node.ts";
import { add, div, exp, input, linear, log, mul, param, tap } from "../ops/index.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { castFloat, float32, int64, type Tensor } from "../tensor/tensor.ts";
import { type CompileOptions, compile } from "./compile.ts";
import { firstNonFinite, isFiniteTensor } from "./non-finite.ts";
import type { Program } from "./program.ts";

const engine = ortEngine();

function storeOf(tensors: Readonly<Record<string, Tensor>>): TensorStore {
  return {
    tensors: new Map(
      Object.entries(tensors).map(([name, { dtype, shape, data }]) => [
        name,
        { dtype, shape, file: null, offset: 0, byteLength: data.byteLength },
      ]),
    ),
    read: (name) => Promise.resolve(tensors[name] as Tensor),
  };
}
const none = storeOf({});

const open: Program[] = [];
async function compiled(outputs: Record<string, Value>, o: Partial<CompileOptions> = {}): Promise<Program> {
  const made = await compile(outputs, { engine, store: none, threads: 1, ...o });
  open.push(made);
  return made;
}
afterAll(() => Promise.all(open.map((made) => made.dispose())));

const x = input("x", { shape: [2] });

test("a program computes what the graph says", async () => {
  const made = await compiled({ y: add(exp(x), 1) });
  const { y } = await made.run({ x: float32([2], [0, 1]) });
  expect(y?.shape).toEqual([2]);
  expect(Number(y?.data[0])).toBeCloseTo(2, 6);
  expect(Number(y?.data[1])).toBeCloseTo(1 + Math.E, 6);
  expect(made.inputs).toEqual({ x: { dtype: "float32", shape: [2] } });
});

test.each([
  "float32",
  "float16",
  "bfloat16",
] as const)("weights stored as %s compute in float32", async (dtype) => {
  // values that all three types hold exactly
  const store = storeOf({
    w: castFloat(float32([3, 2], [1, 2, -3, 0.5, 0, 4]), dtype),
    b: castFloat(float32([3], [0.25, 0, -1]), dtype),
  });
  const y = linear(input("x", { shape: [1, 2] }), param("w", [3, 2]), param("b", [3]));
  const made = await compiled({ y }, { store });
  const result = await made.run({ x: float32([1, 2], [2, 3]) });
  expect([...(result.y?.data ?? [])]).toEqual([8.25, -4.5, 11]);
});

test("results are written into tensors that are given", async () => {
  const made = await compiled({ y: exp(x), z: mul(x, 2) });
  const y = float32([2], [7, 7]);
  const results = await made.run({ x: float32([2], [0, 0]) }, { y });
  expect(results.y).toBe(y);
  expect([...y.data]).toEqual([1, 1]);
  expect([...(results.z?.data ?? [])]).toEqual([0, 0]);
});

test("integers go in and come out", async () => {
  const ids = input("ids", { shape: [2], dtype: "int64" });
  const made = await compiled({ y: add(ids, ids) });
  const { y } = await made.run({ ids: int64([2], [3, -4]) });
  expect(y).toEqual(int64([2], [6, -8]));
});

test("taps that are asked for are outputs, the others are not there", async () => {
  const inner = tap("block.one", exp(x));
  const made = await compiled({ y: tap("block.two", mul(inner, 3)) }, { taps: ["block.one"] });
  expect(Object.keys(made.outputs)).toEqual(["y", "block.one"]);
  const results = await made.run({ x: float32([2], [0, 0]) });
  expect([...(results["block.one"]?.data ?? [])]).toEqual([1, 1]);
  expect([...(results.y?.data ?? [])]).toEqual([3, 3]);
});

test("an unknown tap, and one that an output hides, are errors", async () => {
  const y = tap("block.one", exp(x));
  await expect(compile({ y }, { engine, store: none, taps: ["block.won"] })).rejects.toThrow(
    "tap block.won: expected one of the 1 taps of the graph, got another name [E_GRAPH]\nDid you mean block.one?",
  );
  await expect(compile({ "block.one": y }, { engine, store: none, taps: ["block.one"] })).rejects.toThrow(
    "tap block.one: expected a name that no output has, got one that is taken [E_GRAPH]",
  );
});

test("feeds that do not fit are said in the graph's words", async () => {
  const made = await compiled({ yes: exp(input("sample", { shape: [2] })) });
  await expect(made.run({})).rejects.toThrow("feed sample: expected float32 [2], got nothing [E_GRAPH]");
  const sample = float32([2], [0, 0]);
  await expect(made.run({ sample, simple: sample })).rejects.toThrow(
    "feed simple: expected one of sample, got a name that the program does not have [E_GRAPH]\nDid you mean sample?",
  );
  await expect(made.run({ sample: float32([1], [0]) })).rejects.toThrow(
    "feed sample: expected float32 [2], got float32 [1] [E_GRAPH]",
  );
  await expect(made.run({ sample: int64([2], [0, 0]) })).rejects.toThrow(
    "feed sample: expected float32 [2], got int64 [2] [E_GRAPH]",
  );
  await expect(made.run({ sample }, { yes: float32([3], [0, 0, 0]) })).rejects.toThrow(
    "result yes: expected float32 [2], got float32 [3] [E_GRAPH]",
  );
});

test("a model that the engine refuses is named by its node", async () => {
  const bad = labelled("down_blocks.0", () => exp(input("ids", { shape: [2], dtype: "int64" })));
  const error = await compile({ y: bad }, { engine, store: none }).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(KoalaError);
  const { code, where, expected, got } = error as KoalaError;
  expect({ code, where, expected }).toEqual({
    code: "E_ENGINE",
    where: "ort: down_blocks.0/Exp_0",
    expected: "a model that it can load",
  });
  expect(got).toContain("tensor(int64)");
});

test("a disposed program says so, and may be disposed again", async () => {
  const made = await compiled({ y: exp(x) });
  await made.dispose();
  await made.dispose();
  await expect(made.run({ x: float32([2], [0, 0]) })).rejects.toThrow(
    "ort: expected a session that is open, got one that was disposed [E_ENGINE]",
  );
});

test("the first tap that is not finite is found, in graph order", async () => {
  const good = tap("good", exp(x));
  const bad = tap("bad", log(mul(good, -1)));
  const worse = tap("worse", div(bad, 0));
  const feeds = { x: float32([2], [0, 1]) };
  expect(await firstNonFinite({ y: worse }, feeds, { engine, store: none })).toBe("bad");
  expect(await firstNonFinite({ y: good }, feeds, { engine, store: none })).toBeNull();
});

test("finite means neither NaN nor infinity, in halves too", () => {
  expect(isFiniteTensor(float32([2], [1, 2]))).toBe(true);
  expect(isFiniteTensor(float32([2], [1, Number.NaN]))).toBe(false);
  expect(isFiniteTensor(castFloat(float32([1], [1e6]), "float16"))).toBe(false);
  expect(isFiniteTensor(int64([1], [1]))).toBe(true);
});

test("two inputs of one name are refused, unless they are the same", async () => {
  const other = input("x", { shape: [1] });
  await expect(compiled({ y: add(x, other) })).rejects.toThrow(
    "input: expected one leaf named x, got two: input float32 [2] and input float32 [1] [E_GRAPH]",
  );
  const made = await compiled({ y: add(x, input("x", { shape: [2] })) });
  const { y } = await made.run({ x: float32([2], [1, 2]) });
  expect([...(y?.data ?? [])]).toEqual([2, 4]);
});
