import { describe, expect, it } from "vitest";
import { interpret } from "../graph/interpret.ts";
import type { NdArray, Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { verify } from "../graph/verify.ts";
import { ortEngine } from "../node/ort-node.ts";
import { add, exp, input, matmul, mul, sin, stopGradient, sum, tanh, tap } from "../ops/index.ts";
import { float32 } from "../tensor/tensor.ts";
import { noStore } from "./flat.ts";
import { type Objective, segmentsOf, totalOf } from "./segments.ts";
import { gradientProgram } from "./step.ts";

/** A chain with a skip over two cuts, a weight used in three segments, and a value that no gradient passes. */
function chain(): { objective: Objective; weights: Map<string, Value> } {
  const x = input("x", { shape: [3, 3] });
  const weights = new Map(["a", "b"].map((name) => [name, input(name, { shape: [3, 3] })] as const));
  const [a, b] = [...weights.values()] as [Value, Value];
  const one = tap("one", tanh(matmul(x, a)));
  const two = tap("two", sin(mul(matmul(one, b), a)));
  const three = tap("three", add(matmul(two, a), mul(one, stopGradient(exp(one)))));
  const terms = {
    main: sum(mul(three, one), [0, 1]),
    side: sum(mul(two, two), [0, 1]),
    seen: sum(x, [0, 1]),
  };
  return { objective: { terms, factors: { side: 0.5, seen: 0 } }, weights };
}

const numbers = (seed: number): number[] => Array.from({ length: 9 }, (_, i) => Math.sin(seed + 2.3 * i));
const leaves = new Map(["x", "a", "b"].map((name, i) => [name, numbers(i)] as const));

const nd = (values: readonly number[]): NdArray => ({ shape: [3, 3], data: Float64Array.from(values) });

/** Runs a sequence in float64, feeding each graph what the ones before gave. */
function runSequence(
  objective: Objective,
  weights: Map<string, Value>,
  cuts: string[],
): Map<string, NdArray> {
  const known = new Map<string, NdArray>([...leaves].map(([name, values]) => [name, nd(values)]));
  for (const { outputs } of segmentsOf(objective, weights, cuts)) {
    const values = Object.values(outputs);
    verify(values);
    const fed = topological(values).flatMap((v) => (v.op.name === "input" ? [v.attrs.name as string] : []));
    const feeds = new Map(fed.map((name) => [name, known.get(name.replace(/^sofar\./, "")) as NdArray]));
    const results = interpret(values, feeds);
    for (const [i, name] of Object.keys(outputs).entries()) known.set(name, results[i] as NdArray);
  }
  return known;
}

describe("a graph cut into segments", () => {
  const results = ["term.main", "term.side", "term.seen", "gradient.a", "gradient.b"];

  it.each([
    [["one"]],
    [["two"]],
    [["one", "two"]],
    [["one", "two", "three"]],
    [["two", "one"]],
    [["three", "one", "three", "two", "one"]],
  ])("at %o has the losses and gradients of the whole", (cuts) => {
    const { objective, weights } = chain();
    const whole = runSequence(objective, weights, []);
    const parts = runSequence(objective, weights, cuts);
    for (const name of results)
      for (const [i, x] of (whole.get(name) as NdArray).data.entries())
        expect(parts.get(name)?.data[i], name).toBeCloseTo(x, 12);
  });

  it("is cut in the order of the graph and once at a place, however the cuts are named", () => {
    const { objective, weights } = chain();
    const outputs = (cuts: string[]) =>
      segmentsOf(objective, weights, cuts).map((segment) => Object.keys(segment.outputs));
    const usual = outputs(["one", "two"]);
    expect(usual).toHaveLength(5);
    expect(usual.every((names) => names.length > 0)).toBe(true);
    expect(outputs(["two", "one"])).toEqual(usual);
    expect(outputs(["one", "two", "two", "one"])).toEqual(usual);
  });

  it("runs as programs too, a weight of several segments included", async () => {
    const { objective, weights } = chain();
    const whole = runSequence(objective, weights, []);
    const tensors = (names: readonly string[]) =>
      new Map(names.map((name) => [name, float32([3, 3], leaves.get(name) ?? [])] as const));
    const program = gradientProgram(objective, weights, {
      engine: ortEngine(),
      store: noStore,
      threads: 1,
      cuts: ["one", "two"],
    });
    expect(program.inputs).toEqual({ x: { dtype: "float32", shape: [3, 3] } });
    const gradients = new Map(["a", "b"].map((name) => [name, float32([3, 3], numbers(9))] as const));
    for (let again = 0; again < 2; again++) {
      const terms = await program.run(Object.fromEntries(tensors(["x"])), tensors(["a", "b"]), gradients);
      for (const [name, x] of Object.entries(terms))
        expect(x).toBeCloseTo(whole.get(`term.${name}`)?.data[0] ?? Number.NaN, 5);
      for (const [name, { data }] of gradients)
        for (const [i, x] of (whole.get(`gradient.${name}`) as NdArray).data.entries())
          expect(Number(data[i])).toBeCloseTo(x, 5);
    }
    await expect(
      program.run({ x: float32([3, 3], numbers(0)), y: float32([1], [0]) }, tensors(["a", "b"]), gradients),
    ).rejects.toThrow("feed y: expected one of x, a, got a name that the program does not have [E_GRAPH]");
    await program.dispose();
  });
});

describe("what cannot be cut or differentiated", () => {
  it("is said by name", () => {
    const { objective, weights } = chain();
    expect(() => segmentsOf(objective, weights, ["tow"])).toThrow(
      "cut tow: expected one of the 3 taps of the graph, got another name [E_GRAPH]\nDid you mean two?",
    );
    const idle = new Map([...weights, ["idle", input("idle", { shape: [2] })]]);
    expect(() => segmentsOf(objective, idle)).toThrow(
      "idle: expected a differentiable path to the loss, got none [E_GRAPH]",
    );
  });

  it("a loss without terms is 0", () => {
    expect(interpret([totalOf({ terms: {} })], new Map())[0]?.data).toEqual(Float64Array.of(0));
  });
});
