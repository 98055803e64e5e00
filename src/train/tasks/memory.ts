/**
 * What a run will hold in memory, before it starts: weights and what is kept beside them by their shapes, and values inside
 * the graphs by the order in which they are made and read. An engine's own buffers come on top.
 */

import { KoalaError } from "../../core/errors.ts";
import { liveBytes as liveValues } from "../../graph/live.ts";
import type { Value } from "../../graph/op.ts";
import { dtypes } from "../../tensor/dtype.ts";
import { type Shape, size } from "../../tensor/shape.ts";
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

export interface DistillPlan {
  readonly isInTurns: boolean;
  readonly together: number;
  readonly inTurns: number;
}

/**
 * Whether teacher and student fit beside each other into `limit` bytes, or take turns; null: no limit.
 * @throws KoalaError E_MEMORY with the least that would do
 */
export function planDistill(
  bytes: { readonly together: number; readonly inTurns: number },
  limit: number | null,
  format: (bytes: number) => string,
): DistillPlan {
  if (limit === null || bytes.together <= limit) return { ...bytes, isInTurns: false };
  if (bytes.inTurns <= limit) return { ...bytes, isInTurns: true };
  throw new KoalaError("E_MEMORY", {
    where: "memory",
    expected: `at least ${format(bytes.inTurns)}, which teacher and student need in turns`,
    got: format(limit),
    hint: "A smaller batch, fewer batches a turn, recompute, or adam8bit needs less.",
  });
}
