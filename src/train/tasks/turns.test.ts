/** A teacher and a student that take turns: what is asked when, and where it waits. */

import { describe, expect, it } from "vitest";
import { smallDistillation } from "../../../test/small-distillation.ts";
import { host } from "../../runtime/host.ts";
import { distillTask } from "./distill.ts";
import { type AnswerStore, memoryAnswers, turnLength } from "./turns.ts";

const small = { ...smallDistillation, engine: await host.engine("ort") };

describe("turns", () => {
  it("are of whole steps", () => {
    expect([1, 2, 3, 4, 5].map((turn) => turnLength(turn, 2))).toEqual([2, 2, 4, 4, 6]);
    expect(turnLength(16, 1)).toBe(16);
  });

  it("end with the run, and may come before anything else", async () => {
    const answered: number[] = [];
    const inner = memoryAnswers();
    const answers: AnswerStore = {
      ...inner,
      put: (index, said) => {
        answered.push(index);
        return inner.put(index, said);
      },
    };
    const task = distillTask({ ...small, turn: 4, steps: 3, answers }); // of two batches each
    await task.ahead?.(2);
    expect(answered).toEqual([2, 3, 4, 5]);
    await task.batches(2);
    await task.batches(3);
    expect(answered).toEqual([2, 3, 4, 5]);
    await task.batches(1);
    await task.batches(3);
    expect(answered.slice(4)).toEqual([0, 1, 2, 3, 4, 5]);
    await task.dispose();
    expect(distillTask({ ...small, turn: null }).ahead).toBeUndefined();
  });

  it("give each batch the same answers, whatever their length and wherever these wait", async () => {
    const inner = memoryAnswers();
    const turns: number[][] = [];
    const answers: AnswerStore = {
      ...inner,
      async put(index, said) {
        turns.at(-1)?.push(index);
        await inner.put(index, said);
      },
      async clear() {
        turns.push([]);
        await inner.clear();
      },
    };
    const task = distillTask({ ...small, turn: 3, answers });
    const usual = distillTask({ ...small, turn: 1 });
    for (const step of [1, 2, 3]) expect(await task.batches(step)).toEqual(await usual.batches(step));
    expect(turns).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ]);
    expect(await inner.get(4)).toBeDefined();
    await task.dispose();
    expect(await inner.get(4)).toBeUndefined();
    await usual.dispose();
  });
});
