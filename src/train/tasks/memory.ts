/**
 * What a run will hold in memory, before it starts: weights and what is kept beside them by their shapes, and values inside
 * the graphs by the order in which they are made and read. An engine's own buffers come on top.
 */

import { KoalaError } from "../../core/errors.ts";
import { liveBytes as liveValues } from "../../graph/live.ts";
import type { Value } from "../../graph/op.ts";
import {
  PROCESS_BYTES as DRAWING_PROCESS_BYTES,
  RUNNING_FACTOR,
  VALUES_FACTOR,
} from "../../pipeline/memory.ts";
import { dtypes } from "../../tensor/dtype.ts";
import { type Shape, size } from "../../tensor/shape.ts";
import type { DistillRun } from "../config.ts";
import { momentBytes } from "../distill/memory.ts";
import type { Optimizer } from "../optim/transform.ts";
import { segmentsOf } from "../segments.ts";
import type { Task } from "./task.ts";

/** What a step's values take: gradients of weights are written straight into their place, and count nothing. */
export function liveBytes(outputs: Readonly<Record<string, Value>>): number {
  const gradients = Object.entries(outputs).filter(([name]) => name.startsWith("gradient."));
  return liveValues(Object.values(outputs), new Set(gradients.map(([, value]) => value)));
}

/** Node with this package and ONNX Runtime loaded, before a graph is there: 72 MB resident, measured with 1.30 on Linux. */
const PROCESS_BYTES = 72e6;

export interface RunMemory {
  /** Weights, gradients, what the optimizer remembers, the average. */
  readonly state: number;
  /** Values of the largest of the step's graphs. */
  readonly step: number;
  /** All together, with the process itself. */
  readonly total: number;
}

/** In bytes. */
export function runMemory(
  task: Pick<Task, "objective" | "weights">,
  o: {
    readonly optimizer: Optimizer;
    readonly hasAverage: boolean;
    readonly cuts: readonly string[];
    readonly accumulate: number;
    /** Of the step, for batches of so many sizes, none larger than this one; default 1. */
    readonly programs?: number;
  },
): RunMemory {
  const shapes: Shape[] = [...task.weights.values()].map(({ shape }) => shape);
  const floats = 4 * shapes.reduce((sum, shape) => sum + size(shape), 0);
  const moments = shapes.reduce((sum, shape) => sum + momentBytes(o.optimizer, shape), 0);
  const copies = 2 + (o.hasAverage ? 1 : 0) + (o.accumulate > 1 ? 1 : 0);
  const segments = segmentsOf(task.objective, task.weights, o.cuts);
  const kept = segments
    .filter(({ kind }) => kind === "forward")
    .flatMap(({ outputs }) => Object.values(outputs))
    .reduce((sum, { type }) => sum + dtypes[type.dtype].bytes * size(type.shape), 0);
  const values = segments.map(({ outputs }) => liveBytes(outputs));
  const [state, step] = [copies * floats + moments, (o.programs ?? 1) * (kept + Math.max(...values))];
  return { state, step, total: PROCESS_BYTES + state + step };
}

/**
 * What a distillation took beyond what is counted, whose parts are not known: so many bytes, and so many a trained weight.
 * Fitted to four runs (16 and 92 million weights, 132 to 360 MB), with ONNX Runtime 1.30 on Linux: docs/memory.md.
 */
const REST_BYTES = 100e6;
const REST_BYTES_A_WEIGHT = 2;

/** What teacher and student take, together and in turns, in bytes. */
export function distillBytes(o: {
  readonly together: RunMemory;
  /** The student's, where the teacher's answers are fed. */
  readonly apart: RunMemory;
  /** Of the student's state, what holds anything while the teacher answers: before the first step only its weights do. */
  readonly rest: number;
  /** The teacher's weights as float32. */
  readonly weights: number;
  /** What the teacher says, taps too: they stay alive until its run ends. */
  readonly answers: Readonly<Record<string, Value>>;
  /** The answers that are kept. */
  readonly targets: number;
  /** Of the common graph: each has the teacher's weights. */
  readonly programs: number;
  /** Weights that are trained. */
  readonly trained: number;
}): { readonly together: number; readonly inTurns: number } {
  const teacher = RUNNING_FACTOR * o.weights;
  const base = DRAWING_PROCESS_BYTES + REST_BYTES + REST_BYTES_A_WEIGHT * o.trained;
  const learning = o.apart.state + VALUES_FACTOR * o.apart.step;
  const answering = o.rest + teacher + VALUES_FACTOR * liveBytes(o.answers);
  return {
    together: base + o.together.state + o.programs * teacher + VALUES_FACTOR * o.together.step,
    inTurns: base + o.targets + Math.max(learning, answering),
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
