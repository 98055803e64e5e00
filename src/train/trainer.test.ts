import { afterAll, describe, expect, it } from "vitest";
import { fakeJob } from "../../test/fake-job.ts";
import type { Value } from "../graph/op.ts";
import { ortEngine } from "../node/ort-node.ts";
import { add, input, linear, log, mean, mul, sub, tanh, tap } from "../ops/index.ts";
import type { Engine } from "../runtime/session.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { memoryFiles } from "../weights/memory-files.ts";
import { serializeSafetensors } from "../weights/safetensors-writer.ts";
import { noStore } from "./flat.ts";
import { mse } from "./objective.ts";
import { adafactor } from "./optim/adafactor.ts";
import { adam8bit, adam16bit, adamW } from "./optim/adam.ts";
import { sgd } from "./optim/transform.ts";
import { isThrownByAll } from "./parallel.ts";
import type { Objective } from "./segments.ts";
import { openState, stateFile } from "./state.ts";
import { type Batch, createTrainer, type StepReport, type Trainer, type TrainerOptions } from "./trainer.ts";

const N = 4;
const shapes = { "one.weight": [16, 8], "one.bias": [16], "two.weight": [2, 16] };
const weights = new Map(
  Object.entries(shapes).map(([name, shape]): [string, Value] => [name, input(name, { shape })]),
);
const w = (name: string): Value => weights.get(name) as Value;
const x = input("x", { shape: [N, 8] });
const y = input("y", { shape: [N, 2] });
const inner = tap("one", tanh(linear(x, w("one.weight"), w("one.bias"))));
const out = tap("two", linear(inner, w("two.weight"), null));
const objective: Objective = {
  terms: { task: mse(out, y), size: mean(mul(out, out), [0, 1]) },
  factors: { size: 0.1 },
};

const wave = (shape: readonly number[], seed: number): Tensor =>
  float32(
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(seed + 1.7 * i)),
  );

function storeOf(tensors: Readonly<Record<string, Tensor>>): TensorStore {
  return {
    tensors: new Map(
      Object.entries(tensors).map(([name, t]) => [name, { ...t, file: null, offset: 0, byteLength: 0 }]),
    ),
    read: async (name) => tensors[name] as Tensor,
  };
}
const initial = storeOf(
  Object.fromEntries([...weights].map(([name, { shape }], i) => [name, wave(shape, i)])),
);
const batch = (seed: number): Batch => ({ x: wave([N, 8], seed), y: wave([N, 2], seed + 0.5) });

const open: Trainer[] = [];
afterAll(() => Promise.all(open.map((trainer) => trainer.dispose())));
async function trainer(o: Partial<TrainerOptions> = {}, other: Objective = objective): Promise<Trainer> {
  const made = await createTrainer(other, weights, initial, {
    engine: ortEngine(),
    store: noStore,
    threads: 1,
    optimizer: adamW(),
    rate: () => 0.01,
    ...o,
  });
  open.push(made);
  return made;
}

/** Saves and opens again as files would. */
async function saved(from: Trainer) {
  const pieces: Uint8Array[] = [];
  for await (const piece of stateFile(from.state({ seed: 7 }))) pieces.push(piece);
  const whole = new Uint8Array(Buffer.concat(pieces));
  return openState(memoryFiles("run", { "state.safetensors": whole }), "state.safetensors");
}

const snapshot = (t: Trainer): Record<string, number[]> =>
  Object.fromEntries([...t.state().tensors].map(([name, { data }]) => [name, Array.from(data, Number)]));

describe("a run", () => {
  it("in bf16 computes losses and gradients in it, and what moves the weights in f32", async () => {
    const real = ortEngine();
    const seen: string[] = [];
    const engine: Engine = {
      ...real,
      precisions: ["f32", "bf16"],
      load(model, o) {
        seen.push(`${Object.keys(model.outputs).sort().join(" ")} in ${o?.precision}`);
        return real.load(model, { ...o, precision: "f32" });
      },
    };
    const made = await trainer({ engine, precision: "bf16", optimizer: sgd(), emaCap: 0.9 });
    await made.train([batch(0), batch(1)]);
    expect(seen.filter((line) => line.includes("gradient.one.weight"))).toHaveLength(1);
    for (const line of seen) expect(line).toMatch(line.includes("gradient.") ? /in bf16$/ : /in f32$/);
    expect(seen.length).toBeGreaterThanOrEqual(5); // gradients, optimizer, norm, average, sum
  });

  it("in 16 bits learns by the curve of float32, and has its average", async () => {
    const o = { emaCap: 0.99, rate: () => 0.005 };
    const exact = await trainer(o);
    const short = await trainer({ ...o, optimizer: adam16bit(), emaDtype: "float16" });
    for (let step = 1; step <= 200; step++) {
      const [a, b] = [await exact.train([batch(step % 5)]), await short.train([batch(step % 5)])];
      expect(Math.abs(b.loss / a.loss - 1), `step ${step}`).toBeLessThan(1e-3);
    }
    for (const [name, t] of exact.average ?? []) {
      const kept = short.average?.get(name) as Tensor;
      expect(kept.dtype).toBe("float16");
      const [x, y] = [toFloat32(t), toFloat32(kept)];
      const norm = (xs: Iterable<number>): number => Math.hypot(...xs);
      const errors = y.map((v, i) => v - (x[i] ?? 0));
      expect(norm(errors) / norm(x), name).toBeLessThan(2e-3); // the last bit of a float16 is 2^-10 of it or less
    }
  });

  it("rests between steps, and goes on as if it had not", async () => {
    const o = { emaCap: 0.9, cuts: ["one"] };
    const [whole, resting] = [await trainer(o), await trainer(o)];
    await resting.rest();
    for (const step of [1, 2, 3]) {
      const batches = [batch(step), batch(step + 1)];
      expect(await resting.train(batches)).toEqual(await whole.train(batches));
      await resting.rest();
      await resting.rest();
    }
    expect(snapshot(resting)).toEqual(snapshot(whole));
  });

  it.each([
    ["adamW", adamW],
    ["adam8bit", adam8bit],
    ["sgd", sgd],
    ["adafactor", adafactor],
  ] as const)("of %s learns a fixed batch", async (_, optimizer) => {
    const made = await trainer({ optimizer: optimizer(), rate: () => 0.02 });
    const losses: number[] = [];
    for (let i = 0; i < 40; i++) losses.push((await made.train([batch(1)])).loss);
    expect(losses.at(-1)).toBeLessThan(0.5 * (losses[0] ?? 0));
  });

  it.each([
    ["adamW", adamW, "float32"],
    ["adam8bit", adam8bit, "float32"],
    ["adafactor", adafactor, "float32"],
    ["adam16bit with an average in 16 bits", adam16bit, "float16"],
  ] as const)("of %s in 4 steps is one of 2, saved, restored, and 2 more, bit for bit", async (_, optimizer, emaDtype) => {
    const o = {
      ...{ optimizer: optimizer(), maxNorm: 0.5, emaCap: 0.999, emaDtype },
      rate: (step: number) => 0.01 / step,
    };
    const whole = await trainer(o);
    const reports: StepReport[] = [];
    for (let i = 0; i < 4; i++) reports.push(await whole.train([batch(i)]));

    const before = await trainer(o);
    for (let i = 0; i < 2; i++) expect(await before.train([batch(i)])).toEqual(reports[i]);
    const state = await saved(before);
    expect(state.info.extra).toEqual({ seed: 7 });
    const after = await trainer(o);
    await after.restore(state);
    expect(after.step).toBe(2);
    for (let i = 2; i < 4; i++) expect(await after.train([batch(i)])).toEqual(reports[i]);
    expect(snapshot(after)).toEqual(snapshot(whole));
  });

  it("sums the gradients of several batches to that of their mean", async () => {
    const joined = await trainer({ optimizer: sgd({ momentum: 0 }) });
    const report = await joined.train([batch(1), batch(2), batch(1), batch(2)]);
    const other = await trainer({ optimizer: sgd({ momentum: 0 }) });
    const half = await other.train([batch(1), batch(2)]);
    expect(report.loss).toBeCloseTo(half.loss, 6);
    expect(report.gradientNorm).toBeCloseTo(half.gradientNorm, 6);
    for (const [name, t] of joined.weights)
      for (const [i, v] of toFloat32(t).entries())
        expect(toFloat32(other.weights.get(name) as Tensor)[i]).toBeCloseTo(v, 6);
    expect(report.loss).toBeCloseTo((report.terms.task ?? 0) + 0.1 * (report.terms.size ?? 0), 10);
  });

  it("of two processes with half the batches each is that of one", async () => {
    const alone = await trainer({ maxNorm: 0.1 });
    const both = await Promise.all(fakeJob(2).map((communicator) => trainer({ maxNorm: 0.1, communicator })));
    for (let i = 0; i < 3; i++) {
      const expected = await alone.train([batch(2 * i), batch(2 * i + 1)]);
      const got = await Promise.all(both.map((t, rank) => t.train([batch(2 * i + rank)])));
      expect(got[0]).toEqual(got[1]);
      expect(got[0]?.loss).toBeCloseTo(expected.loss, 5);
      expect(got[0]?.gradientNorm).toBeCloseTo(expected.gradientNorm, 5);
    }
    const [first, second] = both as [Trainer, Trainer];
    expect(snapshot(first)).toEqual(snapshot(second));
  });

  it("clips by the global norm", async () => {
    const free = await trainer({ optimizer: sgd({ momentum: 0 }), rate: () => 1 });
    const clipped = await trainer({ optimizer: sgd({ momentum: 0 }), rate: () => 1, maxNorm: 0.1 });
    const { gradientNorm } = await free.train([batch(1)]);
    expect((await clipped.train([batch(1)])).gradientNorm).toBe(gradientNorm);
    const moved = (t: Trainer): number =>
      Math.hypot(
        ...[...t.weights].flatMap(([name, after]) => {
          const start = toFloat32(wave(after.shape, [...weights.keys()].indexOf(name)));
          return [...toFloat32(after)].map((v, i) => v - (start[i] ?? 0));
        }),
      );
    expect(moved(free)).toBeCloseTo(gradientNorm, 5);
    expect(moved(clipped)).toBeCloseTo(0.1, 5);
  });

  it("gives the same numbers in segments", async () => {
    const whole = await trainer();
    const cut = await trainer({ cuts: ["one"] });
    for (let i = 0; i < 3; i++)
      expect((await cut.train([batch(i)])).loss).toBeCloseTo((await whole.train([batch(i)])).loss, 6);
  });
});

describe("a run that goes wrong", () => {
  it("says step, term and tap, and keeps the weights", async () => {
    const bad = tap("bad", log(sub(out, 1e6)));
    const made = await trainer({}, { terms: { fine: mse(out, y), task: mean(bad, [0, 1]) } });
    await expect(made.train([batch(1)])).rejects.toThrow(
      "step 1, loss term task: expected a finite number, got NaN, first at bad [E_NAN]\nNo step was taken yet: look at the weights that the run begins with, and at the data.",
    );
    expect(made.step).toBe(0);
    expect(made.weights.get("one.bias")?.data).toEqual(wave([16], 1).data);
  });

  it("on one process goes wrong on all, which hear where, and can go on", async () => {
    const bad = tap("bad", log(add(mul(out, out), y))); // NaN where y is far below 0
    const other: Objective = { terms: { task: mean(bad, [0, 1]) } };
    const job = await Promise.all(fakeJob(2).map((communicator) => trainer({ communicator }, other)));
    const fed = (value: number): Batch => ({ ...batch(1), y: float32([N, 2], new Array(2 * N).fill(value)) });
    const errors = await Promise.all(
      job.map((t, rank) => t.train([fed(rank === 0 ? 1 : -1e6)]).catch((e: unknown) => e)),
    );
    expect(errors.map((e) => isThrownByAll(e))).toEqual([true, true]);
    for (const error of errors)
      expect(String(error)).toBe(
        "KoalaError: rank 1 of 2, step 1, loss term task: expected a finite number, got NaN, first at bad [E_NAN]\nNo step was taken yet: look at the weights that the run begins with, and at the data.",
      );
    const reports = await Promise.all(job.map((t) => t.train([fed(1)])));
    expect(reports[0]).toEqual(reports[1]);
  });

  it("names the gradient that is not finite under a finite loss", async () => {
    const made = await trainer({}, { terms: { task: mul(mse(out, y), 1e30) }, factors: { task: 1e30 } });
    await expect(made.train([batch(1)])).rejects.toThrow(
      "step 1, gradient of one.weight: expected a finite norm, got NaN [E_NAN]\nNo step was taken yet: look at the weights that the run begins with, and at the data.",
    );
  });

  it("stops when the loss runs away", async () => {
    const made = await trainer({ divergence: 5 });
    await made.train([batch(1)]);
    const far: Batch = { ...batch(1), y: float32([N, 2], Array<number>(2 * N).fill(100)) };
    const error = await made.train([far]).catch((e: unknown) => e);
    expect(String(error)).toMatch(
      /^KoalaError: step 2, loss term task: expected a loss of at most [\d.]+, from the steps before, got [\d.e+]+ \[E_NAN\]\nA run with a lower learning rate may not get there\.$/,
    );
    expect(made.step).toBe(1);
  });

  it("wants batches, and all weights", async () => {
    await expect((await trainer()).train([])).rejects.toThrow(
      "train: expected at least one batch, got none [E_GRAPH]",
    );
    const o = { engine: ortEngine(), store: noStore, optimizer: adamW(), rate: () => 1 };
    const some = storeOf({ "one.weight": wave([16, 8], 0), "one.bias": wave([15], 0) });
    await expect(createTrainer(objective, weights, some, o)).rejects.toThrow(
      "weights: expected the 3 tensors that are trained, in their shapes, got one.bias [15], two.weight missing [E_WEIGHTS]",
    );
  });
});

describe("a state", () => {
  it("of another optimizer, model or kind of file is refused", async () => {
    const state = await saved(await trainer({ optimizer: sgd() }));
    await expect((await trainer()).restore(state)).rejects.toThrow(
      "training state: expected the state of the optimizer adamW, got that of sgd [E_WEIGHTS]",
    );
    await expect((await trainer({ optimizer: sgd(), emaCap: 0.9 })).restore(state)).rejects.toThrow(
      "training state: expected the state of this model and optimizer, got average/one.weight missing, average/one.bias missing, average/two.weight missing [E_WEIGHTS]",
    );
    const averaged = await saved(await trainer({ optimizer: sgd(), emaCap: 0.9 }));
    await expect((await trainer({ optimizer: sgd() })).restore(averaged)).rejects.toThrow(
      "training state: expected the state of this model and optimizer, got average/one.bias surplus, average/one.weight surplus, average/two.weight surplus [E_WEIGHTS]",
    );
    const plain = (metadata: Record<string, string>) =>
      memoryFiles("run", { s: serializeSafetensors({ a: wave([2], 0) }, metadata) });
    await expect(openState(plain({}), "s")).rejects.toThrow(
      "run/s: expected the state of a training run, version 1, got a file of weights [E_WEIGHTS]",
    );
    await expect(openState(plain({ training: '{"version":2}' }), "s")).rejects.toThrow(
      "run/s: expected the state of a training run, version 1, got version 2 [E_WEIGHTS]",
    );
    await expect(openState(plain({ training: "{" }), "s")).rejects.toThrow(
      "run/s: expected the state of a training run, version 1, got version unknown [E_WEIGHTS]",
    );
  });
});
