/** Few-step students in training: LoRA and adversary go on bit for bit; an LCM is judged by its average. */

import { describe, expect, it } from "vitest";
import { host } from "../../src/runtime/host.ts";
import { parseRun } from "../../src/train/config.ts";
import { loraLearner } from "../../src/train/learner.ts";
import { trainerOf } from "../../src/train/run.ts";
import { openState, stateFile } from "../../src/train/state.ts";
import { consistencyTask, TEACHER } from "../../src/train/tasks/consistency.ts";
import type { Trainer } from "../../src/train/trainer.ts";
import { memoryFiles } from "../../src/weights/memory-files.ts";
import { noise, options, store } from "../few-steps-scene.ts";

const run = parseRun({
  ...{ kind: "consistency", method: "pcm", teacher: "t", data: ["d"], rate: 1e-4, ema: 0.9 },
});
const engine = await host.engine("ort");

/** The state file of `trainer` as bytes. */
async function saved(trainer: Trainer): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stateFile(trainer.state())) pieces.push(piece.slice());
  return new Uint8Array(Buffer.concat(pieces));
}

describe("a few-step student in training", () => {
  it("goes on bit for bit, adversary included, with a LoRA that only adds to its teacher", async () => {
    const lora = { network: "unet", rank: 2, targets: ["attention", "resnet", "sampler"], seed: 1 } as const;
    const build = () =>
      consistencyTask(
        options({
          learner: loraLearner(store, TEACHER, lora),
          adversary: { weight: 0.1, rate: 1e-5 },
        }),
      );
    const task = build();
    expect([...task.frozen.tensors.keys()].every((name) => name.startsWith(TEACHER))).toBe(true);
    const whole = await trainerOf(run, task, { engine, threads: 1 });
    const first = await whole.train(await task.batches(1));
    expect(Object.keys(first.terms)).toEqual(["consistency", "adversarial", "discriminator"]);
    const between = await saved(whole);
    await whole.train(await task.batches(2));
    const end = await saved(whole);
    await whole.dispose();

    const again = build();
    const resumed = await trainerOf(run, again, { engine, threads: 1 });
    await resumed.restore(await openState(memoryFiles("memory", { state: between }), "state"));
    await resumed.train(await again.batches(2));
    expect(Buffer.compare(await saved(resumed), end)).toBe(0);

    const names = [...resumed.weights.keys()];
    expect(names.every((name) => /^unet\..*\.lora_[AB]\.weight$/.test(name))).toBe(true);
    await resumed.dispose();
  }, 120_000);

  it("as LCM it is judged by its average, which begins as its weights", async () => {
    const task = consistencyTask(
      options({ path: { ...noise, method: "lcm", grid: 50, phases: 1 }, isJudgedByAverage: true }),
    );
    const trainer = await trainerOf(run, task, { engine, threads: 1 });
    expect(Object.keys(trainer.inputs).some((name) => name.startsWith("average."))).toBe(false);
    const { loss } = await trainer.train(await task.batches(1));
    expect(Number.isFinite(loss)).toBe(true);
    await trainer.dispose();
  }, 120_000);
});
