/**
 * What a distillation will hold in memory, before it starts: bytes that follow from shapes alone. What the engine allocates
 * for values inside a run is its own and comes on top.
 */

import type { DenoiserSize } from "../../pipeline/networks.ts";
import { type DType, dtypes } from "../../tensor/dtype.ts";
import { type Shape, size } from "../../tensor/shape.ts";
import { buildNetwork, type Network } from "../networks/network.ts";
import type { Optimizer } from "../optim/transform.ts";
import type { FeaturePair } from "./features.ts";

export interface DistillMemoryOptions {
  /** Null trains without a teacher. */
  readonly teacher: Network | null;
  readonly student: Network;
  /** Of one micro-batch. */
  readonly size: DenoiserSize;
  readonly pairs: readonly FeaturePair[];
  readonly optimizer: Optimizer;
  /** How the teacher's weights lie in memory; the student's are float32. Default float32. */
  readonly teacherDtype?: DType;
  /** How the teacher's answers are kept; default float32. */
  readonly targetDtype?: DType;
  /** Micro-batches whose answers are kept at a time; default 1. */
  readonly keptBatches?: number;
  /** Whether a moving average of the student is kept too. */
  readonly hasEma?: boolean;
}

/** In bytes. */
export interface DistillMemory {
  readonly teacherWeights: number;
  readonly studentWeights: number;
  readonly gradients: number;
  readonly moments: number;
  readonly ema: number;
  /** The teacher's prediction and taps of the micro-batches that are kept. */
  readonly targets: number;
  /** With the teacher beside the student. */
  readonly together: number;
  /** The most at a time when they take turns: the teacher with the student's state at rest, or the student that learns. */
  readonly inTurns: number;
}

const FLOAT = dtypes.float32.bytes;
/** Bytes that an optimizer remembers of a weight of that shape: read off the state of its transforms. */
export function momentBytes({ transforms }: Optimizer, shape: Shape): number {
  const states = transforms.flatMap((transform) =>
    transform.unit === "tensor"
      ? Object.values(transform.state(shape)).map((type) => ({ dtype: type.dtype, n: size(type.shape) }))
      : Object.values(transform.state).map(({ dtype, per }) => ({ dtype, n: Math.ceil(size(shape) / per) })),
  );
  return states.reduce((sum, { dtype, n }) => sum + dtypes[dtype].bytes * n, 0);
}

/** The statement of a run before it starts. */
export function distillMemory(o: DistillMemoryOptions): DistillMemory {
  const shapesOf = (network: Network): Shape[] =>
    [...buildNetwork(network, o.size).parameters.values()].map(({ value }) => value.shape);
  const total = (shapes: readonly Shape[], bytes: (shape: Shape) => number): number =>
    shapes.reduce((sum, shape) => sum + bytes(shape), 0);
  const own = shapesOf(o.student);
  const floats = total(own, (shape) => FLOAT * size(shape));
  const teacher = o.teacher === null ? [] : shapesOf(o.teacher);
  const teacherWeights = total(teacher, (shape) => dtypes[o.teacherDtype ?? "float32"].bytes * size(shape));
  const moments = total(own, (shape) => momentBytes(o.optimizer, shape));
  const ema = o.hasEma === true ? floats : 0;
  const targets = o.teacher === null ? 0 : targetBytes(o);
  const rest = floats + moments + ema + targets;
  return {
    teacherWeights,
    studentWeights: floats,
    gradients: floats,
    moments,
    ema,
    targets,
    together: rest + floats + teacherWeights,
    inTurns: rest + Math.max(floats, teacherWeights),
  };
}

function targetBytes({ student, size: s, pairs, targetDtype, keptBatches }: DistillMemoryOptions): number {
  const taps = new Map(pairs.map(({ teacher, shape }) => [teacher, size(shape)]));
  // the prediction is of the latents' shape
  const elements = [...taps.values()].reduce(
    (sum, n) => sum + n,
    size(student.inputs(s).sample?.shape ?? []),
  );
  return (keptBatches ?? 1) * dtypes[targetDtype ?? "float32"].bytes * elements;
}
