/** The plan of memory: against what a trainer allocates, against counts by hand, and what is decided by it. */

import { describe, expect, it } from "vitest";
import { smallDistillation } from "../../../test/small-distillation.ts";
import { thrownBy } from "../../../test/thrown-by.ts";
import { tapsOf } from "../../graph/order.ts";
import { input, mul, param, silu } from "../../ops/index.ts";
import { host } from "../../runtime/host.ts";
import type { Engine } from "../../runtime/session.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { DistillRun } from "../config.ts";
import { buildNetwork } from "../networks/network.ts";
import { adafactor } from "../optim/adafactor.ts";
import { adam8bit, adam16bit, adamW } from "../optim/adam.ts";
import { sgd } from "../optim/transform.ts";
import { type Batch, createTrainer } from "../trainer.ts";
import { distillTask } from "./distill.ts";
import {
  distillBytes,
  learningBytes,
  planDistill,
  type RunMemory,
  restingBytes,
  runMemory,
} from "./memory.ts";

const ort = await host.engine("ort");

/** An engine that knows every array which the trainer had it read or write, scalars aside, and which programs are open. */
class Watched {
  readonly programs = new Set<string>();
  readonly #buffers = new Set<ArrayBuffer>();
  readonly #others = new Set<ArrayBuffer>();
  readonly engine: Engine;

  /** `atTeacher` is called before a teacher is loaded. */
  constructor(atTeacher: () => void) {
    this.engine = {
      ...ort,
      load: async (model, o) => {
        const outputs = Object.keys(model.outputs);
        const isTeacher = outputs.includes("prediction");
        if (isTeacher) atTeacher();
        const key = outputs.join();
        this.programs.add(key);
        const session = await ort.load(model, o);
        return {
          run: (feeds, into = {}) => {
            for (const t of [...Object.values(feeds), ...Object.values(into)])
              if (!isTeacher && t.shape.length > 0) this.#buffers.add(t.data.buffer);
            return session.run(feeds, into);
          },
          dispose: () => {
            this.programs.delete(key);
            return session.dispose();
          },
        };
      },
    };
  }

  /** Leaves what a batch holds out of the count. */
  ignore(batches: readonly Batch[]): void {
    for (const t of batches.flatMap((batch): Tensor[] => Object.values(batch)))
      this.#others.add(t.data.buffer);
  }

  /** Bytes that those arrays take now. */
  get allocated(): number {
    const own = [...this.#buffers].filter((buffer) => !this.#others.has(buffer));
    return own.reduce((sum, buffer) => sum + buffer.byteLength, 0);
  }
}

describe("memory", () => {
  const cuts = ["down_blocks.0", "up_blocks.0"];

  it.each([
    [
      "adamW, an average and batches that add up",
      { optimizer: adamW(), ema: "float32", accumulate: 2, cuts: [] },
    ],
    [
      "adam16bit and an average in 16 bits",
      { optimizer: adam16bit(), ema: "float16", accumulate: 1, cuts: [] },
    ],
    ["adam8bit", { optimizer: adam8bit(), ema: null, accumulate: 1, cuts: [] }],
    ["adafactor and cuts", { optimizer: adafactor(), ema: null, accumulate: 1, cuts }],
    ["sgd, an average and cuts", { optimizer: sgd(), ema: "float32", accumulate: 2, cuts }],
  ] as const)("of a student with %s is what its trainer allocates, in a step and while its teacher answers", async (_, o) => {
    const { optimizer, accumulate } = o;
    const atTeacher: number[] = [];
    const watched = new Watched(() => {
      atTeacher.push(watched.allocated);
      expect([...watched.programs].filter((key) => /gradient|kept|term/.test(key))).toEqual([]);
    });
    const { engine } = watched;
    const task = distillTask({ ...smallDistillation, engine, accumulate, turn: 2 * accumulate });
    const trainer = await createTrainer(task.objective, task.weights, task.initial, {
      ...{ engine, threads: 1, store: task.frozen, optimizer, cuts: o.cuts, rate: () => 1e-3 },
      ...(o.ema === null ? {} : { emaCap: 0.9, emaDtype: o.ema }),
    });
    const memory = runMemory(task, { optimizer, average: o.ema, cuts: o.cuts, accumulate });
    const inStep: number[] = [];
    for (const step of [1, 2, 3]) {
      const batches = await task.batches(step, () => trainer.rest());
      watched.ignore(batches);
      await trainer.train(batches);
      inStep.push(watched.allocated);
    }
    expect(atTeacher).toEqual([0, restingBytes(memory)]); // the teacher's first turn comes before anything was used
    expect(inStep).toEqual(new Array(3).fill(learningBytes(memory)));
    expect(memory.between > 0).toBe(o.cuts.length > 0);
    await trainer.dispose();
    await task.dispose();
    expect(watched.programs.size).toBe(0);
  });

  it("of a teacher beside its student is that of its own weights", () => {
    const { teacher, size } = smallDistillation;
    const task = distillTask({ ...smallDistillation, engine: ort, turn: null });
    const weights = [...buildNetwork(teacher, size).parameters.values()].reduce(
      (sum, { value }) => sum + value.shape.reduce((a, b) => a * b, 4),
      0,
    );
    const o = { optimizer: adamW(), average: null, cuts: [], accumulate: 1 };
    expect(runMemory(task, o).frozen).toBe(weights);
    expect(runMemory(task, { ...o, programs: 3 }).frozen).toBe(3 * weights);
    const apart = distillTask({ ...smallDistillation, engine: ort, turn: 1 });
    expect(runMemory(apart, o).frozen).toBe(0);
    const cut = runMemory(apart, { ...o, cuts });
    expect(cut.values).toBeLessThan(runMemory(apart, o).values);
    expect([...tapsOf(Object.values(apart.objective.terms)).keys()]).toEqual(expect.arrayContaining(cuts));
  });

  it("of teacher and student counts taps until the run ends, and moments after the first step", () => {
    const tap = silu(mul(input("x", { shape: [100] }), param("w", [100])));
    const answers = { prediction: silu(silu(tap)) };
    const apart: RunMemory = {
      ...{ weights: 2000, average: 2000, moments: 4000, gradients: 2000, frozen: 0, between: 0, values: 100 },
    };
    const together = { ...apart, frozen: 400 };
    const o = { together, apart, answers, targets: 30, isOneTurn: false };
    // of the engine's weights and values, 1.1 and 1.9 times: two values of 400 bytes are alive, or three with the tap
    const base = 165e6 + 100e6 + 2 * 500;
    expect(distillBytes(o).together).toBeCloseTo(base + 10_000 + 440 + 190);
    expect(distillBytes(o).inTurns).toBeCloseTo(base + 30 + 10_000 + 190);
    const values = { ...o, answers: { ...answers, tap } };
    expect(distillBytes(o).inTurns).toBeLessThan(distillBytes(values).inTurns);
    expect(distillBytes(values).inTurns).toBeCloseTo(base + 30 + 8000 + 440 + 1.9 * 1200);
    const more = { ...values, apart: { ...apart, gradients: 0 } };
    expect(distillBytes({ ...more, isOneTurn: true }).inTurns).toBeCloseTo(base + 30 + 8000 + 190);
  });

  it("decides whether teacher and student take turns", () => {
    const bytes = { together: 300, inTurns: 200 };
    const text = (n: number): string => `${n} B`;
    expect(planDistill(bytes, null, text).isInTurns).toBe(false);
    expect(planDistill(bytes, 300, text).isInTurns).toBe(false);
    expect(planDistill(bytes, 250, text).isInTurns).toBe(true);
    expect(thrownBy(() => planDistill(bytes, 100, text))).toBe(
      "memory: expected at least 200 B, which teacher and student need in turns, got 100 B [E_MEMORY]\nA smaller batch or resolution needs less.",
    );
    const savings = [
      { flag: "--answers disk", change: { answers: "disk" } },
      { flag: "--ema 0", change: { ema: 0 } },
      { flag: "--optimizer adam8bit", change: { optimizer: "adam8bit" } },
    ] as const;
    // leaving the average away saves nothing here, and is not kept when the moments are tried
    const inTurns = ({ answers, ema, optimizer }: Partial<DistillRun>): number =>
      200 - (answers === "disk" ? 50 : 0) - (optimizer === "adam8bit" ? (ema === 0 ? 10 : 40) : 0);
    const hintOf = (limit: number): string =>
      thrownBy(() => planDistill(bytes, limit, text, savings, inTurns)).split("\n")[1] ?? "";
    expect(hintOf(160)).toBe("With --answers disk it is 150 B.");
    expect(hintOf(120)).toBe("With --answers disk --optimizer adam8bit it is 110 B.");
    expect(hintOf(90)).toBe(
      "With --answers disk --optimizer adam8bit it is 110 B; a smaller batch or resolution needs less.",
    );
  });
});
