/** What a study does to the world: cutting, training, drawing and judging, by the code of the commands of these names. */

import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join, relative } from "node:path";
import type { PipelineEvent } from "../../pipeline/events.ts";
import { host } from "../../runtime/host.ts";
import { size } from "../../tensor/shape.ts";
import { parseRun } from "../../train/config.ts";
import type { RunEnd, StepRecord } from "../../train/run.ts";
import { openComponent } from "../../weights/layout.ts";
import type { Generator, World } from "../cli/world.ts";
import { drawn, fileOf } from "../eval/draw.ts";
import { type Result as Evaluated, evaluate, nothingKept, type Surroundings } from "../eval/evaluate.ts";
import { partOf } from "../eval/pictures.ts";
import { resumeRun, startRun } from "../runs/execute.ts";
import { RunFolder } from "../runs/folder.ts";
import type { RunWatch } from "../runs/watch.ts";
import {
  drawFolder,
  drawName,
  inPrecision,
  type PictureCost,
  type RunCost,
  type Settings,
  trainPath,
} from "./plan.ts";
import type { Drawn, Scores, Trained } from "./scores.ts";
import type { Draw, Fields, Made, Variant } from "./study.ts";
import { type DataFacts, writeVariant } from "./variants.ts";

export interface Bench {
  variant(variant: Variant, folder: string): Promise<DataFacts>;
  cut(how: Made["how"], folder: string): Promise<void>;
  /** Begins the run in the folder, or goes on with it, to its end. @throws the signal's reason when it is stopped */
  train(fields: Fields, folder: string): Promise<Trained>;
  /** Draws and judges; pictures that are in the folder are kept. `teacher` are the teacher's, drawn alike; null: these are they. */
  judge(model: string, draw: Draw, folder: string, teacher: Drawn | null): Promise<Drawn>;
  /** Of its denoiser. */
  parameters(model: string): Promise<number>;
  /** What a run costs, by one of a few steps in a folder that is taken away. */
  timeRun(fields: Fields, folder: string): Promise<RunCost>;
  timePicture(model: string): Promise<PictureCost & { readonly usualSteps: number }>;
}

export interface BenchOptions {
  readonly settings: Settings;
  /** The study's folder. */
  readonly out: string;
  readonly world: Pick<World, "load" | "openModel">;
  readonly isOffline: boolean;
  readonly signal: AbortSignal;
  readonly watch: RunWatch;
  readonly version: string;
  /** `koala cut` with these arguments. */
  cut(argv: readonly string[]): Promise<void>;
}

/** Of the first steps, which compile and touch memory for the first time, none count. */
const timedSteps = 4;
const countedFrom = 2;
/** Sampling steps of a timed picture. */
const timedSampling = 2;

/** What `koala cut` is told. */
export function cutArguments(how: Made["how"], teacher: string, folder: string): string[] {
  if (how.kind !== "cut") return [];
  const depth = how.depth === undefined ? [] : ["--depth", `${how.depth}`];
  return [folder, "--teacher", teacher, "--student", how.rule, "--keep", how.keep, ...depth];
}

/** The bench of this machine. */
export function realBench(o: BenchOptions): Bench {
  const { settings, out, world, signal, watch } = o;
  const hosted = { isOffline: o.isOffline, signal };
  const engineOf = {
    ...(settings.engine === "auto" ? {} : { engine: settings.engine }),
    ...inPrecision(settings),
  };
  const threads = settings.threads === null ? {} : { threads: settings.threads };
  const open = (location: string) => world.openModel(location, hosted);
  const load = (location: string): Promise<Generator> =>
    world.load(location, { ...hosted, ...engineOf, ...threads });
  const kept = nothingKept();

  async function train(fields: Fields, folder: string): Promise<Trained> {
    // what it is and that its data are there, each run would say again
    const options = { open, watch: { ...watch, note() {}, phase() {} }, signal };
    let end: RunEnd;
    if (existsSync(join(folder, "run.json"))) end = await resumeRun(folder, options);
    else {
      await rm(folder, { recursive: true, force: true }); // what a kill left before there was a run
      end = await startRun(parseRun(fields), folder, options);
    }
    if (end === "stopped") throw signal.reason;
    return trainedOf(await (await RunFolder.open(folder, { isExact: false })).records());
  }

  async function judge(model: string, draw: Draw, folder: string, teacher: Drawn | null): Promise<Drawn> {
    const scorer = await open(settings.scorer);
    const engine = await host.engine(settings.engine);
    const surroundings: Surroundings = {
      ...{ openModel: open, load, version: o.version, note() {} },
      onStep: (done, all) => watch.phase("sampling steps", done, all),
      onWarning: (message) => watch.warn(message),
    };
    const { results } = await evaluate(
      {
        ...{ models: [model], data: settings.data, splits: [settings.split], train: trainPath(settings) },
        ...{ metrics: ["r-precision", "clip-score", "frechet"], scorer, near: 1, group: settings.group },
        ...{ count: settings.count, ways: settings.ways, seed: 0 },
        ...(settings.captions.length === 1 ? { captions: settings.captions } : {}),
        ...{ request: { ...draw, ...inPrecision(settings) }, out: folder, engine, signal, kept, ...threads },
      },
      surroundings,
    );
    const result = results[0] as Evaluated;
    const files = result.tasks.map((task) => fileOf(result.folder ?? "", task));
    const timed = await drawOne(load, model, draw);
    return {
      draw: drawName(draw),
      steps: timed.steps,
      scores: {
        ...scoresOf(result),
        distance: teacher === null ? 0 : await distance(result, join(out, dirnameOf(teacher))),
      },
      ...{ seconds: timed.seconds, peakBytes: timed.peakBytes },
      files: files.map((file) => relative(out, file)),
      prompts: result.tasks.map(({ prompt }) => prompt),
    };
  }

  return {
    train,
    judge,
    variant: (variant, folder) => {
      const { captions, balance } = settings;
      return writeVariant(partOf(settings.data, settings.split), variant, folder, {
        captions,
        balance,
        signal,
      });
    },
    cut: (how, folder) => o.cut(cutArguments(how, settings.teacher, folder)),
    async parameters(model) {
      const files = await open(model);
      const isUNet = (await files.list()).includes("unet/config.json");
      const { store } = await openComponent(files, isUNet ? "unet" : "transformer");
      return [...store.tensors.values()].reduce((sum, { shape }) => sum + size(shape), 0);
    },
    async timeRun(fields, folder) {
      const beganMs = performance.now();
      let preparedMs = 0;
      const timing: RunWatch = {
        ...{ note() {}, warn: watch.warn },
        step() {},
        phase(name, done, total) {
          preparedMs = performance.now() - beganMs;
          watch.phase(name, done, total);
        },
      };
      await rm(folder, { recursive: true, force: true });
      const short = { ...fields, steps: timedSteps, warmup: 0, checkpointEvery: timedSteps };
      try {
        const end = await startRun(parseRun(short), folder, { open, watch: timing, signal });
        if (end === "stopped") throw signal.reason;
        const seconds = (await (await RunFolder.open(folder, { isExact: false })).records()).map(
          (record) => record.seconds,
        );
        const step = Math.min(...seconds.slice(countedFrom));
        const steps = seconds.reduce((sum, s) => sum + s, 0);
        return { step, around: Math.max(0, (performance.now() - beganMs - preparedMs) / 1000 - steps) };
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
    async timePicture(model) {
      const generator = await load(model);
      try {
        await timed(generator, { steps: timedSampling }); // compiles
        const one = await timed(generator, { steps: timedSampling });
        const step = one.sampling / timedSampling;
        const { steps: usualSteps } = generator.defaults;
        return { step, around: Math.max(0, one.seconds - one.sampling), usualSteps };
      } finally {
        await generator.dispose();
      }
    },
  };
}

const dirnameOf = ({ files }: Drawn): string => (files[0] ?? "").replace(/[^/\\]*$/, "");

/** Means of the last tenth of the steps. */
export function trainedOf(records: readonly StepRecord[]): Trained {
  const last = records.slice(-Math.max(1, Math.floor(records.length / 10)));
  const names = Object.keys(last[0]?.terms ?? {});
  const meanOf = (name: string): number =>
    last.reduce((sum, { terms }) => sum + (terms[name] ?? 0), 0) / last.length;
  return {
    steps: records.at(-1)?.step ?? 0,
    seconds: records.reduce((sum, { seconds }) => sum + seconds, 0),
    terms: Object.fromEntries(names.map((name) => [name, meanOf(name)])),
  };
}

const finite = (x: number | undefined): number | null => (x === undefined || !Number.isFinite(x) ? null : x);

const scoresOf = ({ measured }: Evaluated): Omit<Scores, "distance"> => ({
  rPrecision: finite(measured.rPrecision?.score.value),
  realRPrecision: finite(measured.rPrecision?.real.value),
  clipScore: finite(measured.clipScore?.drawn.score.value),
  frechet: finite(measured.frechet?.value),
});

/** Root mean square difference of the pictures to those of the same number in another folder. */
async function distance({ folder, tasks }: Evaluated, other: string): Promise<number> {
  const theirs = drawn(other, tasks)[Symbol.asyncIterator]();
  let [sum, count] = [0, 0];
  for await (const { data } of drawn(folder ?? "", tasks)) {
    const { value } = await theirs.next();
    const twin = (value as { readonly data: Uint8Array }).data;
    for (const [i, x] of data.entries()) sum += (x - (twin[i] ?? 0)) ** 2;
    count += data.length;
  }
  return Math.sqrt(sum / count);
}

interface Timed {
  readonly seconds: number;
  /** Of them, in sampling steps. */
  readonly sampling: number;
  readonly steps: number;
}

async function timed(generator: Generator, draw: Draw): Promise<Timed> {
  const beganMs = performance.now();
  let [sampling, steps] = [0, 0];
  for await (const event of generator.generate({
    ...draw,
    prompt: "a red apple",
    seed: 0,
  }) as AsyncIterable<PipelineEvent>)
    if (event.type === "step") {
      sampling += event.seconds;
      steps = event.steps;
    }
  return { seconds: (performance.now() - beganMs) / 1000, sampling, steps };
}

/** One picture when all is compiled, and what the process is planned to take. */
async function drawOne(
  load: (location: string) => Promise<Generator>,
  model: string,
  draw: Draw,
): Promise<Timed & { readonly peakBytes: number }> {
  const generator = await load(model);
  try {
    await timed(generator, draw);
    const one = await timed(generator, draw);
    const { peak } = generator.plan(generator.resolve({ ...draw, prompt: "a red apple", seed: 0 }));
    return { ...one, peakBytes: peak };
  } finally {
    await generator.dispose();
  }
}

/** Where a model's pictures lie that are drawn in one way. */
export const picturesFolder = (path: string, draw: Draw): string => join(path, "pictures", drawFolder(draw));
