import { beforeEach, expect, test } from "vitest";
import { ortEngine } from "../node/ort-node.ts";
import { add, input, mul } from "../ops/index.ts";
import type { Engine } from "../runtime/session.ts";
import { float32 } from "../tensor/tensor.ts";
import { chain } from "./chain.ts";

const real = ortEngine();
const store = { tensors: new Map(), read: () => Promise.reject(new Error("no weights here")) };
const carry = { output: "last", input: "states" };
const leaf = (name: string) => input(name, { shape: [1] });

let loaded = 0;
let held = 0;
let most = 0;
let onRun = (): void => {};
const counted: Engine = {
  ...real,
  async load(model, o) {
    const session = await real.load(model, o);
    loaded++;
    most = Math.max(most, ++held);
    const dispose = async (): Promise<void> => {
      held--;
      await session.dispose();
    };
    const run: typeof session.run = (feeds, into) => {
      onRun();
      return session.run(feeds, into);
    };
    return { run, dispose };
  },
};
beforeEach(() => {
  loaded = held = most = 0;
  onRun = () => {};
});

const pieces = [
  { last: mul(leaf("x"), 2) },
  { last: add(leaf("states"), leaf("bias")) },
  { last: mul(leaf("states"), leaf("states")) },
];

test("pieces run in turn, each in memory alone", async () => {
  const made = chain(pieces, { engine: counted, store, threads: 1, carry });
  expect(Object.keys(made.inputs).sort()).toEqual(["bias", "x"]);
  expect(made.outputs).toEqual({ last: { dtype: "float32", shape: [1] } });
  expect((await made.run({ x: float32([1], [3]), bias: float32([1], [4]) })).last?.data).toEqual(
    Float32Array.of(100),
  );
  expect([held, most]).toEqual([0, 1]);
  await expect(made.run({ x: float32([1], [3]) })).rejects.toThrow(
    "feed bias: expected float32 [1], got nothing [E_GRAPH]",
  );
});

test("an abort is heard before the next piece is compiled, and leaves none in memory", async () => {
  const stop = new AbortController();
  onRun = () => stop.abort(new Error("enough"));
  const made = chain(pieces, { engine: counted, store, threads: 1, carry, signal: stop.signal });
  await expect(made.run({ x: float32([1], [3]), bias: float32([1], [4]) })).rejects.toThrow("enough");
  expect([loaded, held]).toEqual([1, 0]);
});
