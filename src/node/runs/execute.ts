/** Beginning a run, and going on with one: data, task, trainer, loop, result. */

import { check, unreachable } from "../../core/assert.ts";
import { host } from "../../runtime/host.ts";
import type { Engine } from "../../runtime/session.ts";
import type { Run } from "../../train/config.ts";
import { makeBuckets } from "../../train/data/buckets.ts";
import type { PreparedSample } from "../../train/data/loader.ts";
import type { DataSource } from "../../train/data/sample.ts";
import {
  type Measures,
  type RunEnd,
  type RunPlace,
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
import { type Prepared, type PrepareOptions, prepareData } from "../data/prepare.ts";
import { openFolder } from "../files.ts";
import { vaeJob } from "./autoencoders.ts";
import { consistencyJob } from "./consistency.ts";
import { distillJob, trainJob } from "./denoisers.ts";
import { clipJob } from "./encoders.ts";
import { RunFolder } from "./folder.ts";
import { type Job, type JobData, type JobOptions, LateLoader, type OpenModel, type Weights } from "./job.ts";
import { makeModelFolder, type NewPart, writePart } from "./model-folder.ts";
import { digits, writeReport } from "./report.ts";
import type { RunWatch } from "./watch.ts";

export interface ExecuteOptions {
  readonly open: OpenModel;
  readonly watch: RunWatch;
  /** Ends the run after the step at hand, with a checkpoint. */
  readonly signal: AbortSignal;
}

/** What is new in the result, the job's own part first. */
type Parts = readonly [NewPart, ...NewPart[]];

/** A run that was checked as a whole, and not begun. */
interface Planned {
  readonly job: Job;
  readonly engine: Engine;
  readonly source: DataSource;
  readonly heldOut: DataSource | null;
  readonly loader: LateLoader;
}

function jobOf(run: Run, o: JobOptions): Promise<Job> {
  switch (run.kind) {
    case "unet":
    case "transformer":
      return trainJob(run, o);
    case "distill":
      return distillJob(run, o);
    case "consistency":
      return consistencyJob(run, o);
    case "vae":
      return vaeJob(run, o);
    case "clip":
      return clipJob(run, o);
    default:
      return unreachable(run, "jobOf");
  }
}

async function plan(run: Run, { open, watch }: ExecuteOptions): Promise<Planned> {
  rateOf(run); // which refuses what does not fit, before hours are spent on data
  const engine = await host.engine(run.engine);
  const loader = new LateLoader();
  const job = await jobOf(run, { engine, open, loader, warn: watch.warn });
  const source = await openSource(job.run.data, job.records);
  const heldOut = job.heldOut.length === 0 ? null : await openSource(job.heldOut, job.records);
  watch.note(job.memory);
  return { job, engine, source, heldOut, loader };
}

/**
 * Begins a run in a new folder and stays with it to its end, or until the signal. What fails before the first step
 * leaves no run behind, only what was computed of its data.
 * @throws KoalaError E_CONFIG, E_MODEL, E_FILE, E_OUTPUT, E_DISK, E_MEMORY, E_NAN, E_ENGINE
 */
export async function startRun(run: Run, path: string, o: ExecuteOptions): Promise<RunEnd> {
  const planned = await plan(run, o);
  const folder = await RunFolder.create(path, planned.job.run);
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
  const { job, engine } = planned;
  const { run } = job;
  let trainer: Trainer | null = null;
  try {
    const data = await prepare(folder, planned, o);
    planned.loader.fill(job, data.learned);
    const parts = [job.part, ...((await job.begin?.(data)) ?? [])] as const;
    const threads = run.threads === undefined ? {} : { threads: run.threads };
    trainer = await trainerOf(run, job.task, { engine, ...threads });
    const dataKey = keyOf(data.learned.samples);
    await restore(folder, trainer, dataKey, o.watch);
    await makeModelFolder(folder.modelPath, job.base, parts);
    const place = placeOf(folder, job, parts, data, dataKey, o.watch);
    const end = await trainingLoop(trainer, job.task, place, { ...run, signal: o.signal });
    await publish(folder, job, parts, data, trainer);
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
    await job.dispose();
  }
}

/** Pictures and captions, encoded once. */
async function prepare(
  folder: RunFolder,
  { job, source, heldOut }: Planned,
  { watch, signal }: ExecuteOptions,
): Promise<JobData> {
  const { run } = job;
  const encoders = await job.encoders();
  const resolution = run.resolution ?? 0;
  const options: PrepareOptions = {
    ...encoders,
    cache: folder.cachePath,
    background: run.background,
    view: {
      buckets: makeBuckets({ resolution, step: job.cell, hasAspects: false }),
      ...{ crop: run.crop, hasFlips: run.flips && job.keepsFlips, views: run.views, seed: run.seed },
      minSide: run.minSide ?? 1,
    },
    log: { warn: watch.warn, debug: () => {} },
    signal,
    onProgress: watch.phase,
  };
  try {
    const learned = await prepareData(source, options);
    const { pictures, averageResolution, meanWords } = learned.census;
    const words = encoders.captions === null ? "" : `, captions of ${meanWords.toFixed(1)} words`;
    watch.note(`${pictures} pictures of ${averageResolution.toFixed(0)} px on average${words}`);
    if (heldOut === null) return { learned, heldOut };
    return { learned, heldOut: await heldOutData(heldOut, learned, options) };
  } finally {
    await encoders.pictures.dispose();
    await encoders.captions?.dispose();
  }
}

/** @throws KoalaError E_CONFIG when a picture is learned and measured by, which would measure memory */
async function heldOutData(source: DataSource, learned: Prepared, o: PrepareOptions): Promise<Prepared> {
  const known = new Set(learned.samples.map(({ hash }) => hash));
  const prepared = await prepareData(source, o);
  const both = prepared.samples.filter(({ hash }) => known.has(hash));
  check(both.length === 0, "E_CONFIG", () => ({
    where: "held-out pictures",
    expected: "pictures that are not learned",
    got: `${both.length} that are in the data too, such as ${both[0]?.id}`,
  }));
  return prepared;
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
const bestOf = (trainer: Trainer): Weights => trainer.average ?? trainer.weights;

async function publish(
  folder: RunFolder,
  job: Job,
  parts: Parts,
  data: JobData,
  trainer: Trainer,
): Promise<void> {
  const result = await job.result(bestOf(trainer), data);
  for (const part of parts) await writePart(folder.modelPath, part, result, folder.run.dtype);
}

/** Steps over which the speed is told. */
const recentSteps = 50;

function placeOf(
  folder: RunFolder,
  job: Job,
  parts: Parts,
  data: JobData,
  dataKey: string,
  watch: RunWatch,
): RunPlace {
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
      const info = { ...state.info, extra: { ...state.info.extra, data: dataKey } };
      await folder.checkpoint({ ...state, info });
    },
    async sample(step: number, trainer: Trainer): Promise<Measures> {
      if (job.isDrawnFromResult) await publish(folder, job, parts, data, trainer);
      const place = { sheet: folder.samplePath(step), model: folder.modelPath, watch };
      const measures = await job.sample(place, bestOf(trainer), data);
      const said = Object.entries(measures).map(([name, value]) => `${name} ${digits(value)}`);
      if (said.length > 0) watch.note(`after step ${step}: ${said.join(", ")}`);
      return measures;
    },
  };
}
