/** Runs whose batches have several sizes: against the same by hand, resumed, shared, taught, and within their bounds. */

import { afterAll, describe, expect, it } from "vitest";
import { fakeJob } from "../../../test/fake-job.ts";
import { random, smallUNet } from "../../../test/training-batches.ts";
import { timestepEmbedding } from "../../models/conditioning.ts";
import { buildUNet } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import type { DenoiserSize } from "../../pipeline/networks.ts";
import { host } from "../../runtime/host.ts";
import type { Engine } from "../../runtime/session.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { memoryFiles } from "../../weights/memory-files.ts";
import { parseRun } from "../config.ts";
import { bucketName, type Size } from "../data/buckets.ts";
import { batchLoader, type Loader, type PreparedSample } from "../data/loader.ts";
import { planView } from "../data/view.ts";
import { featurePairs } from "../distill/features.ts";
import { wholeLearner } from "../learner.ts";
import { unetNetwork } from "../networks/unet.ts";
import { adamW } from "../optim/adam.ts";
import { sgd } from "../optim/transform.ts";
import type { Share } from "../parallel.ts";
import { trainerOf } from "../run.ts";
import { openState, stateFile } from "../state.ts";
import { type GradientProgram, gradientProgram } from "../step.ts";
import { createTrainer, type Trainer, type TrainerOptions } from "../trainer.ts";
import { consistencyTask } from "./consistency.ts";
import { denoiserTask } from "./denoiser.ts";
import { type DistillTaskOptions, distillTask } from "./distill.ts";
import { freshStore } from "./fresh.ts";
import { type NoisedOptions, noisedFeeds } from "./noised.ts";
import { trainingNoise } from "./schedule.ts";
import type { Task } from "./task.ts";

const engine = await host.engine("ort");
const config = unetConfig(smallUNet);
const square: DenoiserSize = { batch: 2, height: 8, width: 8, tokens: 4 };
const store = freshStore(buildUNet(config, square).parameters, 5);
const network = unetNetwork(smallUNet, store);

/** Of 8 px a latent cell. */
const buckets: readonly Size[] = [
  { width: 32, height: 128 },
  { width: 64, height: 64 },
  { width: 128, height: 32 },
];
const originals: readonly Size[] = [
  ...[70, 80, 90, 100].map((side) => ({ width: side, height: side + 3 })),
  ...[40, 50, 60].map((side) => ({ width: side, height: 4 * side })),
  ...[40, 50, 60].map((side) => ({ width: 5 * side, height: side })),
];
const samples = originals.map((original, i): PreparedSample => {
  const views = { buckets, crop: "random", hasFlips: false, views: 1, seed: 3, minSide: 1 } as const;
  const id = `${i}`;
  return {
    ...{ id, hash: id, captions: [`caption ${i}`], group: null, weight: 1 },
    views: [planView(original, id, 0, views)],
  };
});
const loaderOf = ({ rank, size }: Share): Loader =>
  batchLoader(
    {
      samples,
      picture: async ({ id, views: [{ target }] }) =>
        random(`picture ${id}`, 2 * config.inChannels, target.height / 8, target.width / 8),
      caption: async (caption) => ({
        text: random(caption, 4, config.textChannels),
        pooled: random(`pooled ${caption}`, config.added?.pooledChannels ?? 0),
      }),
    },
    { seed: 1, batch: 2, isBalanced: false, emptyCaptions: 0, rank, world: size, hasText: true },
  );
const alone = { rank: 0, size: 1 };
const dataOf = (share: Share): NoisedOptions => ({
  ...trainingNoise({ beta_schedule: "scaled_linear", beta_start: 0.00085, beta_end: 0.012 }, "scheduler"),
  ...{ loader: loaderOf(share), network },
  ...{
    vae: { scalingFactor: 0.5, shiftFactor: 0 },
    hasZeroForEmpty: true,
    seed: 1,
    weighting: { kind: "min-snr", gamma: 5 },
    noiseOffset: 0,
  },
  hasSizes: true,
});
const data = dataOf(alone);
const unet = (accumulate = 1): Task =>
  denoiserTask({ network, size: square, initial: store, data, accumulate });

const open: { dispose(): Promise<void> }[] = [];
afterAll(() => Promise.all(open.map((one) => one.dispose())));
async function trainerFor(task: Task, o: Partial<TrainerOptions> = {}): Promise<Trainer> {
  const made = await createTrainer(task.objective, task.weights, task.initial, {
    ...{ engine, threads: 1, store: task.frozen, optimizer: adamW(), rate: () => 1e-3, programs: 3, ...o },
  });
  open.push(made);
  return made;
}
const steps = [1, 2, 3, 4];
const sizeAt = async (index: number): Promise<string> => bucketName((await data.loader.at(index)).size);
const values = ({ weights }: Trainer): number[] => [...weights.values()].flatMap((t) => [...toFloat32(t)]);

describe("a run over buckets", { timeout: 60_000 }, () => {
  it("sees every size, one a batch, and tells the network size, crop and target", async () => {
    const seen = new Set<string>();
    for (let index = 0; index < 10; index++) {
      const { size, ids } = await data.loader.at(index);
      seen.add(bucketName(size));
      const feeds = await noisedFeeds(index, data);
      expect(feeds.sample?.shape).toEqual([2, config.inChannels, size.height / 8, size.width / 8]);
      const told = ids.flatMap((id) => {
        const { original, top, left, target } = (samples[Number(id)] as PreparedSample).views[0];
        expect(target).toEqual(size);
        return [original.height, original.width, top, left, size.height, size.width];
      });
      const channels = config.added?.sizeChannels ?? 0;
      expect(toFloat32(feeds.time_ids as Tensor)).toEqual(timestepEmbedding(told, channels, config.sinusoid));
    }
    expect([...seen].sort()).toEqual(["128x32", "32x128", "64x64"]);
  });

  it("learns what batches made by hand teach, with gradients of programs for one size", async () => {
    const rate = 0.05;
    const task = unet(2);
    const trainer = await trainerFor(task, {
      optimizer: sgd({ momentum: 0 }),
      rate: () => rate,
      programs: 3,
    });
    const weights = new Map<string, Tensor>();
    for (const [name, t] of trainer.weights) weights.set(name, float32(t.shape, toFloat32(t).slice()));
    const gradients = new Map(
      [...weights].map(([name, t]) => [name, float32(t.shape, toFloat32(t).slice())]),
    );
    const sizes: string[] = [];
    const programs = new Map<number, GradientProgram>();
    const { hasSizes: _, ...one } = data;
    const programAt = async (size: DenoiserSize): Promise<GradientProgram> => {
      const known = programs.get(size.height);
      if (known !== undefined) return known;
      const alike = denoiserTask({ network, size, initial: store, data: one, accumulate: 1 });
      const made = gradientProgram(alike.objective, alike.weights, { engine, threads: 1, store });
      programs.set(size.height, made);
      open.push(made);
      return made;
    };
    for (const step of steps) {
      const report = await trainer.train(await task.batches(step));
      const sums = new Map([...weights].map(([name, t]) => [name, new Float64Array(t.data.length)]));
      let loss = 0;
      for (const index of [2 * step - 2, 2 * step - 1]) {
        sizes.push(await sizeAt(index));
        const feeds = await noisedFeeds(index, data);
        const [, , height = 0, width = 0] = feeds.sample?.shape ?? [];
        const size = { ...square, height, width };
        const program = await programAt(size);
        const terms = await program.run(feeds, weights, gradients);
        loss += (terms.task ?? Number.NaN) / 2;
        for (const [name, sum] of sums)
          for (const [i, g] of toFloat32(gradients.get(name) as Tensor).entries()) sum[i] = (sum[i] ?? 0) + g;
      }
      expect(report.loss).toBeCloseTo(loss, 5);
      for (const [name, t] of weights) {
        const own = toFloat32(t);
        const sum = sums.get(name) as Float64Array;
        for (let i = 0; i < own.length; i++) own[i] = (own[i] ?? 0) - (rate * (sum[i] ?? 0)) / 2;
      }
    }
    expect(new Set(sizes).size).toBe(3);
    const expected = [...weights.values()].flatMap((t) => [...toFloat32(t)]);
    const errors = values(trainer).map((x, i) => Math.abs(x - (expected[i] ?? Number.NaN)));
    expect(errors.reduce((a, b) => Math.max(a, b))).toBeLessThan(2e-6);
  });

  it("goes on bit for bit, however many programs stay", async () => {
    const whole = await trainerFor(unet());
    const reports = [];
    for (const step of steps) reports.push(await whole.train(await unet().batches(step)));
    const before = await trainerFor(unet(), { programs: 1 });
    for (const step of steps.slice(0, 2)) await before.train(await unet().batches(step));
    const pieces: Uint8Array[] = [];
    for await (const piece of stateFile(before.state())) pieces.push(piece);
    const after = await trainerFor(unet(), { programs: 1 });
    await after.restore(
      await openState(memoryFiles("run", { s: new Uint8Array(Buffer.concat(pieces)) }), "s"),
    );
    for (const step of steps.slice(2))
      expect(await after.train(await unet().batches(step))).toEqual(reports[step - 1]);
    expect(values(after)).toEqual(values(whole));
  });

  it("loses the same by two processes, each with its share of every batch", async () => {
    const one = await trainerFor(unet());
    const job = await Promise.all(
      fakeJob(2).map(async (communicator) => {
        const size = { ...square, batch: 1 };
        const task = denoiserTask({
          network,
          size,
          initial: store,
          data: dataOf(communicator),
          accumulate: 1,
        });
        return { task, trainer: await trainerFor(task, { communicator }) };
      }),
    );
    for (const step of steps) {
      const expected = await one.train(await unet().batches(step));
      const got = await Promise.all(
        job.map(async ({ task, trainer }) => trainer.train(await task.batches(step))),
      );
      expect(got[0]).toEqual(got[1]);
      expect(Math.abs((got[0]?.loss ?? Number.NaN) / expected.loss - 1)).toBeLessThan(1e-5);
    }
  });

  it("keeps no more programs than it may", async () => {
    let [alive, most, loads] = [0, 0, 0];
    const counting: Engine = {
      ...engine,
      async load(model, o) {
        const session = await engine.load(model, o);
        most = Math.max(most, ++alive);
        loads++;
        return {
          run: (...args) => session.run(...args),
          async dispose() {
            alive--;
            await session.dispose();
          },
        };
      },
    };
    const task = unet();
    const trainer = await createTrainer(task.objective, task.weights, task.initial, {
      ...{
        engine: counting,
        threads: 1,
        store: task.frozen,
        optimizer: sgd(),
        rate: () => 1e-3,
        programs: 2,
      },
    });
    const others = alive; // of the update: none of any size yet
    const batchOf = async (bucket: string) => {
      for (let index = 0; ; index++) if ((await sizeAt(index)) === bucket) return noisedFeeds(index, data);
    };
    [most, loads] = [0, 0];
    for (const bucket of ["64x64", "128x32", "64x64", "32x128", "64x64", "128x32"])
      await trainer.train([await batchOf(bucket)]);
    expect(most - others).toBe(2);
    expect(loads).toBe(4); // the wide one is freed by the tall one, and made again
    await trainer.dispose();
    expect(alive).toBe(0);
  });
});

describe("a student over buckets", { timeout: 60_000 }, () => {
  const other = freshStore(buildUNet(config, square).parameters, 6);
  const teacher = unetNetwork(smallUNet, other);
  const pairsAt = (size: DenoiserSize) => featurePairs(teacher, network, { features: "all", size });
  const options: Omit<DistillTaskOptions, "turn"> = {
    ...{ teacher, student: network, size: square, pairs: pairsAt(square), pairsAt, data, engine },
    ...{ threads: 1, accumulate: 1, detail: "total", weights: { task: 1, output: 1, feature: 1 } },
  };

  it("loses the same beside its teacher and in turns with it", async () => {
    const losses = async (turn: number | null): Promise<number[]> => {
      const task = distillTask({ ...options, turn });
      const trainer = await trainerFor(task);
      const found: number[] = [];
      for (const step of steps) found.push((await trainer.train(await task.batches(step))).loss);
      return found;
    };
    const [together, apart] = [await losses(null), await losses(3)];
    for (const [i, loss] of together.entries())
      expect(Math.abs((apart[i] ?? 0) / loss - 1)).toBeLessThan(2e-3);
    expect(new Set(await Promise.all(steps.map((step) => sizeAt(step - 1)))).size).toBeGreaterThan(1);
  });

  it("of few steps loses as one whose batches have that size alone, its adversary too", async () => {
    const taskAt = (size: DenoiserSize, o: NoisedOptions): Task =>
      consistencyTask({
        ...{
          teacher,
          student: network,
          learner: wholeLearner(store),
          size,
          data: o,
        },
        accumulate: 1,
        ...{ path: { ...trainingNoise({}, "scheduler"), method: "pcm", grid: 8, phases: 2 } },
        ...{ guidance: [2, 3], loss: "huber", huberC: 1e-3, isJudgedByAverage: false },
        ...{ adversary: { weight: 0.1, rate: 1e-4 } },
        empty: () =>
          Promise.resolve({
            text: random("", 4, config.textChannels),
            pooled: random("p", config.added?.pooledChannels ?? 0),
          }),
      });
    const run = parseRun({ kind: "unet", model: "m", data: ["d"], ema: 0 });
    const trainerAt = async (task: Task): Promise<Trainer> => {
      const made = await trainerOf(run, task, { engine, threads: 1, programs: 1 });
      open.push(made);
      return made;
    };
    const index = await (async () => {
      for (let i = 0; ; i++) if ((await sizeAt(i)) === "128x32") return i;
    })();
    const [sized, { hasSizes: _, ...one }] = [taskAt(square, data), data];
    const wide = taskAt({ ...square, height: 4, width: 16 }, one);
    const [a, b] = [await trainerAt(sized), await trainerAt(wide)];
    const reports = [
      await a.train(await sized.batches(index + 1)),
      await b.train(await wide.batches(index + 1)),
    ];
    expect(reports[0]).toEqual(reports[1]);
    expect(Object.keys(reports[0]?.terms ?? {})).toEqual(["consistency", "adversarial", "discriminator"]);
  });
});
