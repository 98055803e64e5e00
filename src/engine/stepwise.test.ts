import { afterAll, expect, test } from "vitest";
import type { Value } from "../graph/op.ts";
import { ortEngine } from "../node/ort-node.ts";
import { add, exp, input, mul, tap } from "../ops/index.ts";
import type { Engine } from "../runtime/session.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";
import type { Program } from "./program.ts";
import { compileStepwise } from "./stepwise.ts";

const real = ortEngine();
let loads = 0;
const counted: Engine = {
  ...real,
  load: (model, o) => {
    loads++;
    return real.load(model, o);
  },
};
const store = { tensors: new Map(), read: () => Promise.reject(new Error("no weights here")) };
const one = (v: number): Tensor => float32([1], [v]);
const x = input("x", { shape: [1] });
const text = input("text", { shape: [1] });

const open: Program[] = [];
async function stepwise(outputs: Record<string, Value>, changing: string[]): Promise<Program> {
  const made = await compileStepwise(outputs, { engine: counted, store, threads: 1, changing });
  open.push(made);
  return made;
}
afterAll(() => Promise.all(open.map((made) => made.dispose())));

test("the prologue runs when the prompt changes, and the results are those of the whole graph", async () => {
  loads = 0;
  const made = await stepwise({ y: add(mul(x, exp(text)), text) }, ["x"]);
  expect(Object.keys(made.inputs).sort()).toEqual(["text", "x"]);
  const prompt = one(0);
  expect((await made.run({ x: one(3), text: prompt })).y?.data).toEqual(Float32Array.of(3));
  expect((await made.run({ x: one(4), text: prompt })).y?.data).toEqual(Float32Array.of(4));
  expect(loads).toBe(2); // the step and one prologue
  const other = await made.run({ x: one(4), text: one(1) });
  expect(other.y?.data[0]).toBeCloseTo(4 * Math.E + 1, 5);
  expect(loads).toBe(3);
});

test("taps on either side do not hinder it", async () => {
  const made = await stepwise({ y: tap("b", mul(x, tap("a", exp(text)))) }, ["x"]);
  expect((await made.run({ x: one(3), text: one(0) })).y?.data).toEqual(Float32Array.of(3));
});

test("a graph with nothing to hoist is one program", async () => {
  loads = 0;
  const made = await stepwise({ y: exp(x) }, ["x"]);
  expect((await made.run({ x: one(0) })).y?.data).toEqual(Float32Array.of(1));
  expect(loads).toBe(1);
});

test("a feed that is missing is named", async () => {
  const made = await stepwise({ y: mul(x, exp(text)) }, ["x"]);
  await expect(made.run({ x: one(0) })).rejects.toThrow(
    "feed text: expected float32 [1], got nothing [E_GRAPH]",
  );
});
