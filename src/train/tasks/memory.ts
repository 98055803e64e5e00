/**
 * What a run will hold in memory, before it starts: what learns and what is kept beside it by the layout that the trainer will
 * have, weights that stay by the graphs that read them, and values inside the graphs by the order in which they are made and
 * read. How an engine exceeds them is measured.
 */

import { KoalaError } from "../../core/errors.ts";
import { liveBytes } from "../../graph/live.ts";
import type { Value } from "../../graph/op.ts";
import { topological } from "../../graph/order.ts";
import { PROCESS_BYTES, RUNNING_FACTOR, VALUES_FACTOR } from "../../pipeline/memory.ts";
import { dtypes } from "../../tensor/dtype.ts";
import { size } from "../../tensor/shape.ts";
import { arenaBytes, layOut } from "../arena.ts";
import type { DistillRun } from "../config.ts";
import type { AverageDtype } from "../ema.ts";
import { stateBytes } from "../optim/run.ts";
import type { Optimizer } from "../optim/transform.ts";
import { type Segment, segmentsOf, sofar } from "../segments.ts";
import type { Task } from "./task.ts";

/** In bytes. */
export interface RunMemory {
  /** What learns. */
  readonly weights: number;
  /** The moving average. */
  readonly average: number;
  /** What the optimizer remembers. */
  readonly moments: number;
  /** Within a step alone: gradients, and their sum over batches. */
  readonly gradients: number;
  /** Weights that stay as they are, as float32: each of the step's programs has its own. */
  readonly frozen: number;
  /** What passes between the step's graphs, where it is cut. */
  readonly between: number;
  /** The most values alive at a time inside one of them. */
  readonly values: number;
}

/** What the trainer itself allocates, and keeps between steps. */
export const restingBytes = ({ weights, average, moments }: RunMemory): number => weights + average + moments;

/** The same within a step. */
export const learningBytes = (memory: RunMemory): number =>
  restingBytes(memory) + memory.gradients + memory.between;

export interface RunMemoryOptions {
  readonly optimizer: Optimizer;
  /** How the average is kept; null: there is none. */
  readonly average: AverageDtype | null;
  readonly cuts: readonly string[];
  readonly accumulate: number;
  /** Of the step, for batches of so many sizes, none larger than this one; default 1. */
  readonly programs?: number;
}

/** Of a task with what learns against it, which is trained without cuts and has no average. */
export function runMemory(
  { rival, ...own }: Pick<Task, "objective" | "weights" | "rival">,
  o: RunMemoryOptions,
): RunMemory {
  const memory = memoryAlone(own, o);
  if (rival === undefined) return memory;
  const against = memoryAlone(rival, { ...o, average: null, cuts: [] });
  const sums = Object.entries(memory).map(([key, n]) => [key, n + against[key as keyof RunMemory]]);
  return Object.fromEntries(sums) as unknown as RunMemory;
}

function memoryAlone(
  { objective, weights }: Pick<Task, "objective" | "weights">,
  o: RunMemoryOptions,
): RunMemory {
  const layout = layOut([...weights].map(([name, { shape }]) => [name, shape] as const));
  const floats = arenaBytes(layout);
  const segments = segmentsOf(objective, weights, o.cuts);
  const { programs = 1 } = o;
  return {
    weights: floats,
    average: o.average === null ? 0 : arenaBytes(layout, { dtype: o.average }),
    moments: stateBytes(o.optimizer, layout),
    gradients: (o.accumulate > 1 ? 2 : 1) * floats,
    frozen: programs * segments.reduce((sum, { outputs }) => sum + frozenBytes(outputs), 0),
    between: programs * segments.reduce((sum, segment) => sum + betweenBytes(segment), 0),
    values: programs * Math.max(...segments.map(innerBytes)),
  };
}

const bytesOf = (values: readonly Value[]): number =>
  values.reduce((sum, { type }) => sum + dtypes[type.dtype].bytes * size(type.shape), 0);

function frozenBytes(outputs: Segment["outputs"]): number {
  const params = topological(Object.values(outputs)).filter(({ op }) => op.name === "param");
  return bytesOf([...new Map(params.map((value) => [value.attrs.name, value])).values()]);
}

/** Gradients are written straight into their place, unless they are added to those of a segment before. */
function betweenBytes({ outputs }: Segment): number {
  const inputs = new Set(topological(Object.values(outputs)).map(({ attrs }) => attrs.name));
  const own = ([name]: readonly [string, Value]): boolean =>
    name.startsWith("gradient.") ? inputs.has(sofar(name)) : !name.startsWith("term.");
  return bytesOf(
    Object.entries(outputs)
      .filter(own)
      .map(([, value]) => value),
  );
}

/** What a segment gives lies outside of it. */
function innerBytes({ outputs }: Segment): number {
  const given = Object.values(outputs);
  return liveBytes(given, new Set(given));
}

/**
 * What a training took beyond what is counted, whose parts are not known: so many bytes, and so many a trained weight.
 * Fitted to four distillations (16 and 92 million weights, 132 to 360 MB), with ONNX Runtime 1.30 on Linux: docs/memory.md.
 */
const REST_BYTES = 100e6;
const REST_BYTES_A_WEIGHT = 2;

const baseBytes = ({ weights }: RunMemory): number =>
  PROCESS_BYTES + REST_BYTES + (REST_BYTES_A_WEIGHT * weights) / dtypes.float32.bytes;

/** What the process takes while it trains. */
export const trainingBytes = (memory: RunMemory): number =>
  baseBytes(memory) + learningBytes(memory) + RUNNING_FACTOR * memory.frozen + VALUES_FACTOR * memory.values;

/** What teacher and student take, together and in turns, in bytes. */
export function distillBytes(o: {
  readonly together: RunMemory;
  /** The student's, where the teacher's answers are fed. */
  readonly apart: RunMemory;
  /** Whether the teacher's only turn comes before the first step, when the optimizer has nothing to remember. */
  readonly isOneTurn: boolean;
  /** What the teacher says, taps too: they stay alive until its run ends. */
  readonly answers: Readonly<Record<string, Value>>;
  /** The answers that are kept. */
  readonly targets: number;
}): { readonly together: number; readonly inTurns: number } {
  const { apart, isOneTurn } = o;
  const resting = restingBytes(apart) - (isOneTurn ? apart.moments : 0);
  const learning = learningBytes(apart) + VALUES_FACTOR * apart.values;
  const teacher =
    RUNNING_FACTOR * frozenBytes(o.answers) + VALUES_FACTOR * liveBytes(Object.values(o.answers));
  return {
    together: trainingBytes(o.together),
    inTurns: baseBytes(apart) + o.targets + Math.max(learning, resting + teacher),
  };
}

export interface DistillPlan {
  readonly isInTurns: boolean;
  readonly together: number;
  readonly inTurns: number;
}

/** A setting that may need less. */
export interface Saving {
  /** As it is written in a command. */
  readonly flag: string;
  readonly change: Partial<DistillRun>;
}

/**
 * Whether teacher and student fit beside each other into `limit` bytes, or take turns; null: no limit.
 * `inTurns` says what a changed run takes then. @throws KoalaError E_MEMORY with those of `savings`, one upon the other, that
 * would do
 */
export function planDistill(
  bytes: { readonly together: number; readonly inTurns: number },
  limit: number | null,
  format: (bytes: number) => string,
  savings: readonly Saving[] = [],
  inTurns: (change: Partial<DistillRun>) => number = () => bytes.inTurns,
): DistillPlan {
  if (limit === null || bytes.together <= limit) return { ...bytes, isInTurns: false };
  if (bytes.inTurns <= limit) return { ...bytes, isInTurns: true };
  const flags: string[] = [];
  let least = bytes.inTurns;
  let changed: Partial<DistillRun> = {};
  for (const { flag, change } of savings) {
    const all = { ...changed, ...change };
    const planned = inTurns(all);
    if (planned >= least) continue;
    flags.push(flag);
    [least, changed] = [planned, all];
    if (least <= limit) break;
  }
  const hint =
    flags.length === 0
      ? "A smaller batch or resolution needs less."
      : `With ${flags.join(" ")} it is ${format(least)}${least <= limit ? "." : "; a smaller batch or resolution needs less."}`;
  throw new KoalaError("E_MEMORY", {
    where: "memory",
    expected: `at least ${format(bytes.inTurns)}, which teacher and student need in turns`,
    got: format(limit),
    hint,
  });
}
