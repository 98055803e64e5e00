/** The loop with a trainer that only counts: what happens when. */

import { describe, expect, it } from "vitest";
import { KoalaError } from "../core/errors.ts";
import type { Value } from "../graph/op.ts";
import { ortEngine } from "../node/ort-node.ts";
import { input, mean, mul, square } from "../ops/index.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { float32 } from "../tensor/tensor.ts";
import { parseRun } from "./config.ts";
import { noStore } from "./flat.ts";
import {
  type LoopOptions,
  optimizerOf,
  type StepRecord,
  trainerOf,
  trainingLoop,
  withAdvice,
} from "./run.ts";
import type { Rival, Task } from "./tasks/task.ts";
import type { Trainer } from "./trainer.ts";

async function events(o: LoopOptions, from = 0, stopAfter?: number, isSampled = false): Promise<string[]> {
  const said: string[] = [];
  const stop = new AbortController();
  const trainer = {
    step: from,
    async train() {
      this.step++;
      if (this.step === stopAfter) stop.abort();
      return { step: this.step, loss: 1, terms: { task: 1 }, gradientNorm: 1, rate: 1 };
    },
    state() {
      return { info: { step: this.step }, tensors: new Map() };
    },
  };
  const task = {
    pictures: 4,
    batches: async (step: number) => {
      said.push(`batches ${step}`);
      return [];
    },
  };
  const place = {
    log: async ({ step }: StepRecord) => void said.push(`log ${step}`),
    checkpoint: async () => void said.push(`checkpoint ${trainer.step}`),
    sample: async (step: number) => void said.push(`sample ${step}`),
    isSampled: async () => isSampled,
  };
  const options = { ...o, signal: stop.signal };
  const end = await trainingLoop(trainer as unknown as Trainer, task as unknown as Task, place, options);
  return [...said.filter((line) => !line.startsWith("batches")), end];
}

describe("the loop of a run", () => {
  it("samples first, and ends with a checkpoint and samples whatever the intervals", async () => {
    expect(await events({ steps: 3, checkpointEvery: 2, sampleEvery: 5 })).toEqual([
      ...["sample 0", "log 1", "log 2", "checkpoint 2", "log 3", "checkpoint 3", "sample 3", "done"],
    ]);
  });

  it("draws what a kill after a checkpoint left undrawn", async () => {
    const o = { steps: 3, checkpointEvery: 2, sampleEvery: 2 };
    const rest = ["log 3", "checkpoint 3", "sample 3", "done"];
    expect(await events(o, 2)).toEqual(["sample 2", ...rest]);
    expect(await events(o, 2, 9, true)).toEqual(rest);
    expect(await events(o, 3)).toEqual(["sample 3", "done"]);
    expect(await events(o, 1)).toEqual(["log 2", "checkpoint 2", "sample 2", ...rest]);
  });

  it("goes on from the trainer's step", async () => {
    expect(await events({ steps: 3, checkpointEvery: 10, sampleEvery: 0 }, 2)).toEqual([
      ...["log 3", "checkpoint 3", "done"],
    ]);
    expect(await events({ steps: 3, checkpointEvery: 10, sampleEvery: 1 }, 3, 9, true)).toEqual(["done"]);
  });

  it("stops after the step at hand, with a checkpoint and without samples", async () => {
    expect(await events({ steps: 9, checkpointEvery: 10, sampleEvery: 2 }, 0, 2)).toEqual([
      ...["sample 0", "log 1", "log 2", "checkpoint 2", "stopped"],
    ]);
  });
});

it("a failure of the numbers says where to go on", () => {
  const nan = new KoalaError("E_NAN", {
    where: "step 2",
    expected: "a finite number",
    got: "NaN",
    hint: "Lower it.",
  });
  expect((withAdvice(nan, "Go on.") as KoalaError).message).toBe(
    "step 2: expected a finite number, got NaN [E_NAN]\nLower it.\nGo on.",
  );
  const other = new Error("other");
  expect(withAdvice(other, "Go on.")).toBe(other);
});

/** A weight of one number, which begins as 1, and the loss `scale` times its square. */
function network(name: string, scale: Value): Omit<Rival, "rate"> {
  const weight = input(name, { shape: [1] });
  const one = float32([1], [1]);
  const initial: TensorStore = {
    tensors: new Map([[name, { ...one, file: null, offset: 0, byteLength: 0 }]]),
    read: async () => one,
  };
  const terms = { [`${name} loss`]: mean(mul(square(weight), scale), [0]) };
  return { objective: { terms }, weights: new Map([[name, weight]]), initial };
}

describe("a rival", () => {
  it("may lose any number of times what it did, and ends the run where that is none", async () => {
    const rival = { ...network("rival", input("scale", { shape: [1] })), rate: 1e-9 };
    const own = network("own", input("x", { shape: [1] }));
    const task = { ...own, frozen: noStore, rival } as unknown as Task;
    const run = parseRun({ kind: "unet", model: "m", data: ["d"] });
    const trainer = await trainerOf(run, task, { engine: ortEngine(), threads: 1 });
    const fed = (scale: number) => [{ x: float32([1], [1]), scale: float32([1], [scale]) }];
    try {
      await trainer.train(fed(1e-6));
      expect((await trainer.train(fed(1))).terms["rival loss"]).toBeCloseTo(1, 4);
      await expect(trainer.train(fed(Number.NaN))).rejects.toThrow(
        "step 3, loss term rival loss: expected a finite number, got NaN",
      );
    } finally {
      await trainer.dispose();
    }
  });
});

it("every optimizer that a run may name is there", () => {
  const names = ["adamw", "adam8bit", "adafactor", "muon", "sgd"].map(
    (optimizer) => optimizerOf(parseRun({ kind: "unet", model: "m", data: ["d"], optimizer })).name,
  );
  expect(names).toEqual(["adamW", "adam8bit", "adafactor", "muon", "sgd"]);
});
