import { describe, expect, it } from "vitest";
import { compile } from "../engine/compile.ts";
import { apply, type Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { ortEngine } from "../node/ort-node.ts";
import { add, input, mul, neg, sum } from "../ops/index.ts";
import { allocate } from "../tensor/dtype.ts";
import { fastGenerator } from "../tensor/random.ts";
import { size } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { checkAliases } from "./aliases.ts";
import { emaUpdate } from "./ema.ts";
import { noStore } from "./flat.ts";
import { adafactor } from "./optim/adafactor.ts";
import { adam8bit, adam16bit, adamW } from "./optim/adam.ts";
import { updateGraph } from "./optim/run.ts";
import { sgd } from "./optim/transform.ts";

type Outputs = Readonly<Record<string, Value>>;

/** The same graph made in another order that its operands allow, which is the order that it is lowered in. */
function shuffled(outputs: Outputs, seed: number): Outputs {
  const random = fastGenerator(seed, "order");
  const draw = new Float32Array(1);
  const made = new Map<Value, Value>();
  const left = new Set(topological(Object.values(outputs)));
  while (left.size > 0) {
    const ready = [...left].filter((node) => node.inputs.every((x) => made.has(x)));
    random.uniform(draw, 0, ready.length);
    const next = ready[Math.min(Math.floor(draw[0] ?? 0), ready.length - 1)] as Value;
    left.delete(next);
    made.set(
      next,
      apply(
        next.op,
        next.inputs.map((x) => made.get(x) as Value),
        next.attrs,
      ),
    );
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, x]) => [name, made.get(x) as Value]));
}

/** Runs the graph three times over its own operands and gives what they are then. */
async function runInPlace(outputs: Outputs): Promise<Record<string, Tensor>> {
  const program = await compile(outputs, { engine: ortEngine(), store: noStore, threads: 2 });
  const feeds: Record<string, Tensor> = {};
  for (const [name, { dtype, shape }] of Object.entries(program.inputs)) {
    const data = allocate(dtype, size(shape));
    if (data instanceof Float32Array) fastGenerator(1, name).uniform(data, 0.1, 1);
    feeds[name] = { dtype, shape, data };
  }
  const own = Object.keys(program.outputs).map((name) => [name, feeds[name.slice(4)] as Tensor] as const);
  for (let i = 0; i < 3; i++) await program.run(feeds, Object.fromEntries(own));
  await program.dispose();
  return feeds;
}

describe.each<[string, () => Outputs]>([
  ["adamW", () => updateGraph(adamW(), [4096])],
  ["adam8bit", () => updateGraph(adam8bit(), [4096])],
  ["adam16bit", () => updateGraph(adam16bit(), [4096])],
  ["sgd", () => updateGraph(sgd({ isNesterov: true, weightDecay: 0.1 }), [4096])],
  ["adafactor", () => updateGraph(adafactor({ weightDecay: 0.1, isRelative: true }), [32, 64])],
  ["the moving average", () => emaUpdate(4096)],
  ["the moving average in 16 bits", () => emaUpdate(4096, "float16")],
])("%s in place", (_, build) => {
  it("gives the same numbers in any valid order of its nodes", async () => {
    const graph = build();
    checkAliases(graph);
    const expected = await runInPlace(graph);
    for (const seed of [1, 2, 3]) expect(await runInPlace(shuffled(graph, seed))).toEqual(expected);
  });
});

describe("a result over its operand", () => {
  const x = input("x", { shape: [4] });

  it("is refused where another node may still read the operand", () => {
    expect(() => checkAliases({ "new.x": mul(x, 2), y: neg(x) })).toThrow(
      "result new.x: expected a result that every reader of x comes before, got a neg that may run after it [E_GRAPH]",
    );
  });

  it("is refused where its own node reads the operand out of step", () => {
    expect(() => checkAliases({ "new.x": add(x, input("y", { shape: [3, 4] })) })).toThrow(
      "result new.x: expected a result that every reader of x comes before, got a add that may run after it [E_GRAPH]",
    );
  });

  it("is allowed after all other readers, and for results under other names", () => {
    checkAliases({ "new.x": mul(x, sum(x, [0], { keep: true })), y: neg(input("z", { shape: [1] })) });
  });
});
