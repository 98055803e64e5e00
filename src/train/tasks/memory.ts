/**
 * What a run will hold in memory, before it starts: weights and what is kept beside them by their shapes, and values inside
 * the graphs by the order in which they are made and read. An engine's own buffers come on top.
 */

import { KoalaError } from "../../core/errors.ts";
import type { Value } from "../../graph/op.ts";
import { topological } from "../../graph/order.ts";
import { dtypes } from "../../tensor/dtype.ts";
import { type Shape, size } from "../../tensor/shape.ts";
import { momentBytes } from "../distill/memory.ts";
import type { Optimizer } from "../optim/transform.ts";
import { segmentsOf } from "../segments.ts";
import type { Task } from "./task.ts";

const LEAVES: ReadonlySet<string> = new Set(["param", "input", "constant"]);

/**
 * The most bytes alive at a time when `outputs` are computed in graph order. Leaves lie elsewhere and count nothing, and
 * nor do gradients of weights, which are written straight into their place.
 */
export function liveBytes(outputs: Readonly<Record<string, Value>>): number {
  const gradients = Object.entries(outputs).filter(([name]) => name.startsWith("gradient."));
  const elsewhere = new Set(gradients.map(([, value]) => value));
  const bytesOf = (x: Value): number =>
    LEAVES.has(x.op.name) || elsewhere.has(x) ? 0 : dtypes[x.type.dtype].bytes * size(x.type.shape);
  const results = new Set(Object.values(outputs));
  const order = topological(results);
  const readers = new Map<Value, number>();
  for (const node of order) for (const x of node.inputs) readers.set(x, (readers.get(x) ?? 0) + 1);
  let live = 0;
  let most = 0;
  for (const node of order) {
    live += bytesOf(node);
    most = Math.max(most, live);
    for (const x of node.inputs) {
      const left = (readers.get(x) ?? 0) - 1;
      readers.set(x, left);
      if (left === 0 && !results.has(x)) live -= bytesOf(x);
    }
  }
  return most;
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
  const [state, step] = [copies * floats + moments, kept + Math.max(...values)];
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
