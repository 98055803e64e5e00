/** The loop with a trainer that only counts: what happens when. */

import { describe, expect, it } from "vitest";
import { KoalaError } from "../core/errors.ts";
import { parseRun } from "./config.ts";
import { type LoopOptions, optimizerOf, type StepRecord, trainingLoop, withAdvice } from "./run.ts";
import type { Task } from "./tasks/task.ts";
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

it("every optimizer that a run may name is there", () => {
  const names = ["adamw", "adam8bit", "adafactor", "muon", "sgd"].map(
    (optimizer) => optimizerOf(parseRun({ kind: "unet", model: "m", data: ["d"], optimizer })).name,
  );
  expect(names).toEqual(["adamW", "adam8bit", "adafactor", "muon", "sgd"]);
});
