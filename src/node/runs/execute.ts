/** Beginning a run, and going on with one: data, task, trainer, loop, result. */

import { check, unreachable } from "../../core/assert.ts";
import { checkPrecision } from "../../engine/compile.ts";
import { host } from "../../runtime/host.ts";
import type { Engine } from "../../runtime/session.ts";
import type { Run } from "../../train/config.ts";
import type { PreparedSample } from "../../train/data/loader.ts";
import type { DataSource } from "../../train/data/sample.ts";
import {
  byFirst,
  type Communicator,
  firstThenOthers,
  single,
  textOfFirst,
  together,
} from "../../train/parallel.ts";
import {
  type Measures,
  nowhere,
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
import { packageVersion } from "../cli/package.ts";
import { contentHash } from "../data/hash.ts";
import { openSource } from "../data/open-source.ts";
import { openPrepared, type Prepared, type PrepareOptions, prepareData } from "../data/prepare.ts";
import { openFolder } from "../files.ts";
import { openvinoStatus } from "../openvino.ts";
import { adviceAfter } from "./advice.ts";
import { vaeJob } from "./autoencoders.ts";
import { consistencyJob } from "./consistency.ts";
import { trainJob } from "./denoisers.ts";
import { distillJob } from "./distillations.ts";
import { clipJob } from "./encoders.ts";
import { configText, RunFolder } from "./folder.ts";
import {
  type Job,
  type JobData,
  type JobOptions,
  LateLoader,
  type OpenModel,
  programsOf,
  type Weights,
} from "./job.ts";
import { makeModelFolder, type NewPart, writePart } from "./model-folder.ts";
import { digits, writeReport } from "./report.ts";
import type { RunWatch } from "./watch.ts";

export interface ExecuteOptions {
  readonly open: OpenModel;
  readonly watch: RunWatch;
  /** Ends the run after the step at hand, with a checkpoint. */
  readonly signal: AbortSignal;
  /** The processes that train together, of which only the first writes; absent: this one is alone. */
  readonly communicator?: Communicator;
}

type Options = Required<ExecuteOptions>;

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

/** @throws KoalaError E_ENGINE, also for a precision that the engine has not: before hours are spent on data */
async function engineOf({ engine: name, precision }: Run): Promise<Engine> {
  const engine = await host.engine(name, precision === "f32" ? undefined : { precision, stores: [] });
  checkPrecision(engine, precision);
  return engine;
}

const FASTER =
  "OpenVINO is here, which takes about seven tenths of the time and a third more memory: --engine openvino";

/** Whether nobody chose an engine, and the one that is measured to be faster at this on this kind of CPU is here. */
const isSlower = async ({ kind, engine: asked }: Run, { name }: Engine): Promise<boolean> =>
  asked === "auto" &&
  name === "ort" &&
  kind !== "vae" &&
  kind !== "clip" &&
  process.arch === "x64" &&
  (await openvinoStatus()).isAvailable;

async function plan(
  run: Run,
  place: Pick<JobOptions, "folder" | "done">,
  { open, watch, communicator }: Options,
): Promise<Planned> {
  rateOf(run); // which refuses what does not fit, before hours are spent on data
  const engine = await engineOf(run);
  const loader = new LateLoader();
  const job = await jobOf(run, { engine, open, loader, warn: watch.warn, share: communicator, ...place });
  const source = await openSource(job.run.data, job.records);
  const heldOut = job.heldOut.length === 0 ? null : await openSource(job.heldOut, job.records);
  const { size } = communicator;
  if (job.note !== undefined) watch.note(job.note);
  watch.note(size === 1 ? job.memory : `${job.memory}, in each of ${size} processes`);
  if (await isSlower(run, engine)) watch.note(FASTER);
  return { job, engine, source, heldOut, loader };
}

/**
 * Begins a run in a new folder and stays with it to its end, or until the signal. What fails before the first step
 * leaves no run behind, only what was computed of its data.
 * @throws KoalaError E_CONFIG, E_MODEL, E_FILE, E_OUTPUT, E_DISK, E_MEMORY, E_NAN, E_ENGINE
 */
export async function startRun(run: Run, path: string, given: ExecuteOptions): Promise<RunEnd> {
  const o = { communicator: single, ...given };
  const planned = await planAlike(() => plan(run, { folder: path, done: null }, o), o.communicator);
  const folder = await firstThenOthers(
    o.communicator,
    () => RunFolder.create(path, planned.job.run),
    () => RunFolder.open(path, { isExact: true }),
  );
  try {
    return await execute(folder, planned, o);
  } catch (error) {
    const isMade = (await folder.records()).length > 0 || o.signal.aborted || isAbort(error);
    if (o.communicator.rank === 0 && !isMade) await folder.discard();
    throw error;
  }
}

/**
 * Goes on with a run from its last checkpoint, or from its beginning where there is none yet; with `steps` to another end
 * than it began with.
 * @throws KoalaError as `startRun` does, and E_CONFIG when the folder, or its data, is another than the run began with,
 *   or `steps` are fewer than were done
 */
export async function resumeRun(path: string, given: ExecuteOptions, steps?: number): Promise<RunEnd> {
  const o = { communicator: single, ...given };
  const opened = (): Promise<RunFolder> => RunFolder.open(path, { isExact: true });
  const changed = async (): Promise<RunFolder> => {
    const folder = await opened();
    return steps === undefined ? folder : folder.withSteps(steps);
  };
  const folder = await firstThenOthers(o.communicator, changed, opened);
  const [last] = await folder.checkpoints();
  const make = (): Promise<Planned> => plan(folder.run, { folder: path, done: last?.step ?? 0 }, o);
  return execute(folder, await planAlike(make, o.communicator), o);
}

/** A plan that every process has made, and made alike. @throws KoalaError E_CONFIG when one was started with another run */
async function planAlike(make: () => Promise<Planned>, communicator: Communicator): Promise<Planned> {
  const planned = await together(communicator, make);
  const { run } = planned.job;
  const said = [`koala ${packageVersion()}`, planned.engine.name, ...configText(run).split("\n")];
  const first = (await textOfFirst(communicator, said.join("\n"))).split("\n");
  await together(communicator, async () => {
    const other = said.findIndex((line, i) => line !== first[i]);
    check(other === -1 && said.length === first.length, "E_CONFIG", () => ({
      where: "run",
      expected: `the same code and configuration as rank 0: ${first[Math.max(0, other)] ?? "nothing more"}`,
      got: said[other] ?? "less",
    }));
  });
  return planned;
}

async function execute(folder: RunFolder, planned: Planned, o: Options): Promise<RunEnd> {
  const { job, engine } = planned;
  const { run } = job;
  const { communicator, watch, signal } = o;
  let trainer: Trainer | null = null;
  try {
    const data = await prepare(folder, planned, o);
    const dataKey = keyOf(data.learned.samples);
    const firstKey = await textOfFirst(communicator, dataKey);
    const parts = await together(communicator, async (): Promise<Parts> => {
      check(dataKey === firstKey, "E_CONFIG", () => ({
        where: "data",
        expected: "the pictures, captions and groups that rank 0 has prepared",
        got: "others",
        hint: "All processes must see the same data and the same cache.",
      }));
      planned.loader.fill(job, data.learned, communicator);
      return [job.part, ...((await job.begin?.(data)) ?? [])];
    });
    const threads = run.threads === undefined ? {} : { threads: run.threads };
    const programs = programsOf(run, job.sizes);
    const made = await together(communicator, async () => {
      trainer = await trainerOf(run, job.task, { engine, communicator, programs, ...threads });
      await restore(folder, job, trainer, dataKey, watch);
      return trainer;
    });
    await byFirst(communicator, async () => {
      await folder.rewind(made.step);
      await makeModelFolder(folder.modelPath, job.base, parts);
    });
    await shareState(made, communicator);
    const place = communicator.rank === 0 ? placeOf(folder, job, parts, data, dataKey, watch) : nowhere;
    const end = await trainingLoop(made, job.task, place, { ...run, signal, communicator }).catch(
      async (error: unknown) => {
        throw withAdvice(error, await adviceAfter(folder));
      },
    );
    await byFirst(communicator, async () => {
      await publish(folder, job, parts, data, made);
      await writeReport(folder);
    });
    return end;
  } finally {
    await (trainer as Trainer | null)?.dispose(); // set within a function, which narrowing does not see
    await job.task.dispose();
    await job.dispose();
  }
}

/** Pictures and captions, encoded once. */
async function prepare(
  folder: RunFolder,
  { job, source, heldOut }: Planned,
  { watch, signal, communicator }: Options,
): Promise<JobData> {
  const { run } = job;
  const encoders = await together(communicator, () => job.encoders());
  const hasFlips = run.flips && job.keepsFlips;
  const options: PrepareOptions = {
    ...encoders,
    cache: folder.cachePath,
    background: run.background,
    view: {
      buckets: job.sizes,
      ...{ crop: run.crop, hasFlips, seed: run.seed },
      // a single view is kept as it is for the whole run: half of the pictures would only ever be seen mirrored
      views: hasFlips ? Math.max(2, run.views) : run.views,
      minSide: run.minSide ?? 1,
    },
    log: { warn: watch.warn, debug: () => {} },
    signal,
    onProgress: watch.phase,
  };
  const ready = (from: DataSource): Promise<Prepared> =>
    firstThenOthers(
      communicator,
      () => prepareData(from, options),
      () => openPrepared(from, options),
    );
  try {
    const learned = await ready(source);
    const { pictures, averageResolution, meanWords, groups } = learned.census;
    await together(communicator, async () =>
      check(run.group === undefined || groups > 0, "E_CONFIG", () => ({
        where: "group",
        expected: "a field that names the groups of pictures to balance by",
        got: `${run.group}, which no picture's record has`,
      })),
    );
    const words = encoders.captions === null ? "" : `, captions of ${meanWords.toFixed(1)} words`;
    watch.note(`${pictures} pictures of ${averageResolution.toFixed(0)} px on average${words}`);
    if (job.sizes.length > 1) tellBuckets(learned, run.batch, watch);
    if (heldOut === null) return { learned, heldOut };
    const other = await ready(heldOut);
    return { learned, heldOut: await together(communicator, async () => heldOutData(other, learned)) };
  } finally {
    await encoders.pictures.dispose();
    await encoders.captions?.dispose();
  }
}

/** How many pictures each size has, and which have too few to fill a batch. */
function tellBuckets({ census: { buckets } }: Prepared, batch: number, watch: RunWatch): void {
  const said = buckets.map(({ bucket, pictures }) => `${pictures} of ${bucket}`);
  watch.note(`${buckets.length} sizes: ${said.join(", ")}`);
  const few = buckets.filter(({ pictures }) => pictures < batch).map(({ bucket }) => bucket);
  if (few.length > 0)
    watch.warn(
      `sizes with fewer pictures than a batch of ${batch}, which then has some of them more than once: ${few.join(", ")}`,
    );
}

/** @throws KoalaError E_CONFIG when a picture is learned and measured by, which would measure memory */
function heldOutData(prepared: Prepared, learned: Prepared): Prepared {
  const known = new Set(learned.samples.map(({ hash }) => hash));
  const both = prepared.samples.filter(({ hash }) => known.has(hash));
  check(both.length === 0, "E_CONFIG", () => ({
    where: "held-out pictures",
    expected: "pictures that are not learned",
    got: `${both.length} that are in the data too, such as ${both[0]?.id}`,
  }));
  return prepared;
}

/** Tells the data from any other, in its order, by all that decides what a step draws. */
const keyOf = (samples: readonly PreparedSample[]): string =>
  contentHash(
    JSON.stringify(
      samples.map(({ id, hash, captions, group, weight }) => [id, hash, captions, group, weight]),
    ),
  );

async function restore(
  folder: RunFolder,
  { task }: Job,
  trainer: Trainer,
  dataKey: string,
  watch: RunWatch,
): Promise<void> {
  const [last] = await folder.checkpoints();
  if (last !== undefined) {
    const saved = await openState(await openFolder(folder.path), last.path);
    check(saved.info.extra.data === dataKey, "E_CONFIG", () => ({
      where: folder.path,
      expected: "the data that the run began with",
      got: "other pictures, captions or groups",
      hint: "Bring the old data back, or begin a new run.",
    }));
    if (last.step < folder.run.steps) await task.ahead?.(last.step + 1);
    await trainer.restore(saved);
    watch.note(`goes on after step ${last.step}`);
  }
}

/** The weights of the first process, and all that goes with them, on every one: the same bits, whatever each has read. */
async function shareState(trainer: Trainer, communicator: Communicator): Promise<void> {
  if (communicator.size === 1) return;
  await communicator.broadcast(
    [...trainer.state().tensors.values()].map(({ data }) => data),
    0,
  );
}

/** Whether this is how a stop looks before the first step. */
export const isAbort = (error: unknown): boolean => error instanceof Error && error.name === "AbortError";

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
    async sample(step: number, trainer: Trainer): Promise<void> {
      const draw = async (): Promise<Measures> => {
        if (job.isDrawnFromResult) await publish(folder, job, parts, data, trainer);
        const place = { sheet: folder.samplePath(step), model: folder.modelPath, watch };
        return job.sample(place, bestOf(trainer), data);
      };
      // what can never be drawn is told before the first step; later there is more to lose than a sheet
      const measures = await draw().catch((error: unknown): Measures => {
        if (step === 0 || isAbort(error)) throw error;
        watch.warn(`no samples after step ${step}: ${error instanceof Error ? error.message : error}`);
        return {};
      });
      const said = Object.entries(measures).map(([name, value]) => `${name} ${digits(value)}`);
      if (said.length === 0) return;
      watch.note(`after step ${step}: ${said.join(", ")}`);
      if (step > 0) await folder.log({ step, measures }); // before the first step there is no line that it belongs to
    },
    isSampled: (step: number): Promise<boolean> => folder.isSampled(step),
  };
}
