/** Beginning a run, and going on with one: data, task, trainer, loop, result. */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { check } from "../../core/assert.ts";
import { vaeFactor } from "../../models/vae.ts";
import { host } from "../../runtime/host.ts";
import type { Engine } from "../../runtime/session.ts";
import type { Run } from "../../train/config.ts";
import { makeBuckets } from "../../train/data/buckets.ts";
import type { PreparedSample } from "../../train/data/loader.ts";
import type { DataSource } from "../../train/data/sample.ts";
import {
  type RunEnd,
  rateOf,
  type StepRecord,
  trainerOf,
  trainingLoop,
  withAdvice,
} from "../../train/run.ts";
import { openState } from "../../train/state.ts";
import type { Trainer } from "../../train/trainer.ts";
import { contentHash } from "../data/hash.ts";
import { openSource } from "../data/open-source.ts";
import { type Prepared, prepareData } from "../data/prepare.ts";
import { openFolder } from "../files.ts";
import {
  type Base,
  distillJob,
  encodersOf,
  type Job,
  LateLoader,
  type OpenModel,
  openBase,
  unetJob,
} from "./denoisers.ts";
import { RunFolder } from "./folder.ts";
import { makeModelFolder, writePart } from "./model-folder.ts";
import { writeReport } from "./report.ts";
import { drawSamples, samplePrompts } from "./samples.ts";
import type { RunWatch } from "./watch.ts";

export interface ExecuteOptions {
  readonly open: OpenModel;
  readonly watch: RunWatch;
  /** Ends the run after the step at hand, with a checkpoint. */
  readonly signal: AbortSignal;
}

const locationOf = (run: Run): string => (run.kind === "distill" ? run.teacher : run.model);

const absolute = (location: string): string => (existsSync(location) ? resolve(location) : location);

/** The run with what its model says filled in, and paths that hold from any folder. */
function resolveRun(run: Run, base: Base): Run {
  const resolution = run.resolution ?? base.resolution;
  const factor = vaeFactor(base.vae.config);
  check(resolution % factor === 0, "E_CONFIG", () => ({
    where: "resolution",
    expected: `a multiple of ${factor} px, the size of this model's latent cell`,
    got: `${resolution}`,
  }));
  const common = {
    data: run.data.map(absolute),
    resolution,
    minSide: run.minSide ?? Math.ceil(resolution / 2),
    ...(run.cache === undefined ? {} : { cache: resolve(run.cache) }),
  };
  switch (run.kind) {
    case "distill":
      return { ...run, ...common, teacher: absolute(run.teacher), student: absolute(run.student) };
    case "unet":
      return {
        ...{ ...run, ...common, model: absolute(run.model) },
        ...(run.unet === undefined ? {} : { unet: resolve(run.unet) }),
      };
  }
}

/** A run that was checked as a whole, and not begun. */
interface Planned {
  readonly run: Run;
  readonly base: Base;
  readonly engine: Engine;
  readonly source: DataSource;
  readonly loader: LateLoader;
  readonly job: Job;
}

async function plan(given: Run, { open, watch }: ExecuteOptions): Promise<Planned> {
  rateOf(given); // which refuses what does not fit, before hours are spent on data
  const base = await openBase(locationOf(given), open, watch.warn);
  const run = resolveRun(given, base);
  const source = await openSource(run.data, {
    ...(run.captions === undefined ? {} : { captions: run.captions }),
    ...(run.group === undefined ? {} : { group: run.group }),
  });
  const engine = await host.engine(run.engine);
  const loader = new LateLoader();
  const o = { engine, open, loader };
  const job = run.kind === "distill" ? await distillJob(run, base, o) : await unetJob(run, base, o);
  watch.note(job.memory);
  return { run, base, engine, source, loader, job };
}

/**
 * Begins a run in a new folder and stays with it to its end, or until the signal. What fails before the first step
 * leaves no run behind, only what was computed of its data.
 * @throws KoalaError E_CONFIG, E_MODEL, E_FILE, E_OUTPUT, E_DISK, E_MEMORY, E_NAN, E_ENGINE
 */
export async function startRun(run: Run, path: string, o: ExecuteOptions): Promise<RunEnd> {
  const planned = await plan(run, o);
  const folder = await RunFolder.create(path, planned.run);
  try {
    return await execute(folder, planned, o);
  } catch (error) {
    if ((await folder.records()).length === 0 && !o.signal.aborted) await folder.discard();
    throw error;
  }
}

/**
 * Goes on with a run from its last checkpoint, or from its beginning where there is none yet.
 * @throws KoalaError as `startRun` does, and E_CONFIG when the folder, or its data, is another than the run began with
 */
export async function resumeRun(path: string, o: ExecuteOptions): Promise<RunEnd> {
  const folder = await RunFolder.open(path, { isExact: true });
  return execute(folder, await plan(folder.run, o), o);
}

async function execute(folder: RunFolder, planned: Planned, o: ExecuteOptions): Promise<RunEnd> {
  const { run, job, engine } = planned;
  let trainer: Trainer | null = null;
  try {
    const prepared = await prepare(folder, planned, o);
    planned.loader.fill(run, prepared);
    const threads = run.threads === undefined ? {} : { threads: run.threads };
    trainer = await trainerOf(run, job.task, { engine, ...threads });
    const dataKey = keyOf(prepared.samples);
    await restore(folder, trainer, dataKey, o.watch);
    await makeModelFolder(folder.modelPath, planned.base.files, job.part);
    const place = placeOf(folder, job, prepared, dataKey, o.watch);
    const end = await trainingLoop(trainer, job.task, place, { ...run, signal: o.signal });
    await publish(folder, job, trainer);
    await writeReport(folder);
    return end;
  } catch (error) {
    const [last] = await folder.checkpoints();
    throw last === undefined
      ? error
      : withAdvice(
          error,
          `koala resume ${folder.path} goes on from step ${last.step}, whose checkpoint is kept.`,
        );
  } finally {
    await trainer?.dispose();
    await job.task.dispose();
  }
}

/** Pictures and captions, encoded once. */
async function prepare(
  folder: RunFolder,
  { run, base, engine, source }: Planned,
  { watch, signal }: ExecuteOptions,
): Promise<Prepared> {
  const encoders = await encodersOf(base, engine, run.threads, watch.warn);
  const resolution = run.resolution ?? base.resolution;
  try {
    const prepared = await prepareData(source, {
      ...encoders,
      cache: folder.cachePath,
      background: run.background,
      view: {
        buckets: makeBuckets({ resolution, step: vaeFactor(base.vae.config), hasAspects: false }),
        ...{ crop: run.crop, hasFlips: run.flips, views: run.views, seed: run.seed },
        minSide: run.minSide ?? 1,
      },
      log: { warn: watch.warn, debug: () => {} },
      signal,
      onProgress: watch.phase,
    });
    const { pictures, averageResolution, meanWords } = prepared.census;
    watch.note(
      `${pictures} pictures of ${averageResolution.toFixed(0)} px on average, captions of ${meanWords.toFixed(1)} words`,
    );
    return prepared;
  } finally {
    await encoders.pictures.dispose();
    await encoders.captions?.dispose();
  }
}

/** Tells the data from any other, in its order. */
const keyOf = (samples: readonly PreparedSample[]): string =>
  contentHash(JSON.stringify(samples.map(({ id, hash, captions }) => [id, hash, captions])));

async function restore(folder: RunFolder, trainer: Trainer, dataKey: string, watch: RunWatch): Promise<void> {
  const [last] = await folder.checkpoints();
  if (last !== undefined) {
    const saved = await openState(await openFolder(folder.path), last.path);
    check(saved.info.extra.data === dataKey, "E_CONFIG", () => ({
      where: folder.path,
      expected: "the data that the run began with",
      got: "other pictures or captions",
      hint: "Bring the old data back, or begin a new run.",
    }));
    await trainer.restore(saved);
    watch.note(`goes on after step ${last.step}`);
  }
  await folder.rewind(trainer.step);
}

/** The average where one is kept, which is smoother than the weights of any step. */
async function publish(folder: RunFolder, { part }: Job, trainer: Trainer): Promise<void> {
  await writePart(folder.modelPath, part.name, trainer.average ?? trainer.weights, folder.run.dtype);
}

/** Steps over which the speed is told. */
const recentSteps = 50;

function placeOf(folder: RunFolder, job: Job, prepared: Prepared, dataKey: string, watch: RunWatch) {
  const { run } = folder;
  const recent: number[] = [];
  return {
    async log(record: StepRecord): Promise<void> {
      await folder.log(record);
      recent.push(record.seconds);
      if (recent.length > recentSteps) recent.shift();
      const mean = recent.reduce((a, b) => a + b, 0) / recent.length;
      watch.step(record, run.steps, mean * (run.steps - record.step));
    },
    async checkpoint(state: ReturnType<Trainer["state"]>): Promise<void> {
      const info = { ...state.info, extra: { data: dataKey } };
      await folder.checkpoint({ ...state, info });
    },
    async sample(step: number, trainer: Trainer): Promise<void> {
      await publish(folder, job, trainer);
      const prompts = samplePrompts(run, prepared.samples);
      await drawSamples(folder.modelPath, folder.samplePath(step), run, prompts, (done) =>
        watch.phase("samples", done, prompts.length),
      );
    },
  };
}
