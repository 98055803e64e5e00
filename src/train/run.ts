/**
 * The loop of a run: batches to the trainer, its report to the log, and at their intervals samples and checkpoints. Where
 * these are kept is the caller's affair. It goes on from the trainer's own step, and an interrupted run loses nothing.
 */

import { unreachable } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import type { CommonRun } from "./config.ts";
import type { AverageDtype } from "./ema.ts";
import { adafactor } from "./optim/adafactor.ts";
import { adam8bit, adam16bit, adamW } from "./optim/adam.ts";
import { muon } from "./optim/muon.ts";
import { type Optimizer, sgd } from "./optim/transform.ts";
import { type Communicator, isOnAny, single, together } from "./parallel.ts";
import { rivals } from "./rivals.ts";
import { learningRate, type Rate } from "./schedule-lr.ts";
import type { TrainingState } from "./state.ts";
import type { Task } from "./tasks/task.ts";
import { createTrainer, type StepReport, type Trainer, type TrainerOptions } from "./trainer.ts";

/** Numbers that samples were found to have, by name. */
export type Measures = Readonly<Record<string, number>>;

/** What a run's log says of a step. */
export interface StepRecord extends StepReport {
  /** Of this step, its data and its update. */
  readonly seconds: number;
  readonly picturesPerSecond: number;
  /** At steps that were followed by samples, where the kind of run measures any. */
  readonly measures?: Measures;
}

/** Where a run leaves what it makes. In a job of several processes it is that of the first; the others have `nowhere`. */
export interface RunPlace {
  log(record: StepRecord): Promise<void>;
  /** Must be whole, or the one before it still there, whatever happens meanwhile. */
  checkpoint(state: TrainingState): Promise<void>;
  /** Shows what the trainer's weights can do after `step` steps. */
  sample(step: number, trainer: Trainer): Promise<void>;
  /** Whether those after `step` are there, from before a break. */
  isSampled(step: number): Promise<boolean>;
}

/** The place of a process that is not the first of its job. */
export const nowhere: RunPlace = {
  log: async () => {},
  checkpoint: async () => {},
  sample: async () => {},
  isSampled: async () => true,
};

export interface LoopOptions extends Pick<CommonRun, "steps" | "checkpointEvery" | "sampleEvery"> {
  /** Ends the run after the step at hand, with a checkpoint. */
  readonly signal?: AbortSignal;
  /** The processes that train together; all end by the signal or the failure of any. */
  readonly communicator?: Communicator;
}

/** How a loop ended: with its last step, or by the signal. */
export type RunEnd = "done" | "stopped";

/** The optimizer that a run names. */
export function optimizerOf({ optimizer, weightDecay }: CommonRun): Optimizer {
  switch (optimizer) {
    case "adamw":
      return adamW({ weightDecay });
    case "adam16bit":
      return adam16bit({ weightDecay });
    case "adam8bit":
      return adam8bit({ weightDecay });
    case "adafactor":
      return adafactor({ weightDecay });
    case "muon":
      return muon({ weightDecay });
    case "sgd":
      return sgd({ weightDecay });
    default:
      return unreachable(optimizer, "optimizerOf");
  }
}

/** How a run keeps its average: of large networks it may be in 16 bits. */
export const averageDtypeOf = (run: CommonRun & { readonly emaDtype?: AverageDtype }): AverageDtype =>
  run.emaDtype ?? "float32";

/** The learning rate of a run's steps. @throws KoalaError E_REQUEST when its warm-up is longer than the run */
export const rateOf = ({ rate: peak, schedule: shape, warmup, steps }: CommonRun): Rate =>
  learningRate({ shape, peak, warmup, steps });

/** The trainer of a run's task. @throws KoalaError E_CONFIG, E_REQUEST, E_GRAPH, E_WEIGHTS, E_ENGINE */
export async function trainerOf(
  run: CommonRun,
  task: Task,
  o: Pick<TrainerOptions, "engine" | "threads" | "communicator" | "programs">,
): Promise<Trainer> {
  const common = {
    ...{ ...o, store: task.frozen, optimizer: optimizerOf(run), precision: run.precision },
    ...(run.maxNorm === 0 ? {} : { maxNorm: run.maxNorm }),
  };
  const own = await createTrainer(task.objective, task.weights, task.initial, {
    ...{ ...common, cuts: run.recompute, rate: rateOf(run) },
    ...(run.ema === 0 ? {} : { emaCap: run.ema, emaDtype: averageDtypeOf(run) }),
  });
  const { rival } = task;
  if (rival === undefined) return own;
  try {
    const theirs: TrainerOptions = {
      ...{ ...common, rate: () => rival.rate },
      // a rival that wins loses exactly 0, and any loss after that is many times the mean
      divergence: Number.POSITIVE_INFINITY,
    };
    return rivals(own, await createTrainer(rival.objective, rival.weights, rival.initial, theirs));
  } catch (error) {
    await own.dispose();
    throw error;
  }
}

/**
 * Runs until `o.steps` steps are done, or the signal asks for an end: which of both is told.
 * @throws KoalaError E_NAN with step, term and tap, the weights being those of the step before; and what `place` throws
 */
export async function trainingLoop(
  trainer: Trainer,
  task: Task,
  place: RunPlace,
  o: LoopOptions,
): Promise<RunEnd> {
  const { communicator = single } = o;
  const isDue = (every: number): boolean => every > 0 && trainer.step % every === 0;
  const isLast = (): boolean => trainer.step === o.steps;
  const isShown = (): boolean => o.sampleEvery > 0 && (isDue(o.sampleEvery) || isLast());
  if (isShown())
    await together(communicator, async () => {
      if (!(await place.isSampled(trainer.step))) await place.sample(trainer.step, trainer);
    });
  while (trainer.step < o.steps) {
    const beganMs = performance.now();
    const batches = await together(communicator, () => task.batches(trainer.step + 1, () => trainer.rest()));
    const report = await trainer.train(batches);
    const seconds = (performance.now() - beganMs) / 1000;
    const isStopped = await isOnAny(communicator, o.signal?.aborted === true);
    const picturesPerSecond = (communicator.size * task.pictures) / seconds;
    await together(communicator, async () => {
      // a line before its checkpoint: a run that goes on from there takes lines that come after it back, but makes none anew
      await place.log({ ...report, seconds, picturesPerSecond });
      if (isDue(o.checkpointEvery) || isLast() || isStopped) await place.checkpoint(trainer.state());
      // after the checkpoint: drawing takes memory, and what ends it must not take what was learned
      if (isShown() && !isStopped) await place.sample(report.step, trainer);
    });
    if (isStopped && !isLast()) return "stopped";
  }
  return "done";
}

/** A failure of the numbers, with what to do about the run; null: nothing more is known. */
export function withAdvice(error: unknown, advice: string | null): unknown {
  if (advice === null || !(error instanceof KoalaError) || error.code !== "E_NAN") return error;
  const { hint } = error;
  return error.reworded({ hint: hint === undefined ? advice : `${hint}\n${advice}` });
}
