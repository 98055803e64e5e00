/** What a kind of run must say for itself; `execute.ts` does with all kinds alike what follows from it. */

import { check } from "../../core/assert.ts";
import type { Engine } from "../../runtime/session.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { CommonRun, PromptedRun, Run } from "../../train/config.ts";
import { makeBuckets, type Size } from "../../train/data/buckets.ts";
import { type Batch, batchLoader, type Loader, type LoaderOptions } from "../../train/data/loader.ts";
import type { RecordOptions } from "../../train/data/record.ts";
import type { Share } from "../../train/parallel.ts";
import { averageDtypeOf, type Measures, optimizerOf } from "../../train/run.ts";
import { learningBytes, type RunMemory, runMemory, trainingBytes } from "../../train/tasks/memory.ts";
import type { Task } from "../../train/tasks/task.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { bytes } from "../cli/units.ts";
import type { Prepared, PrepareOptions } from "../data/prepare.ts";
import type { NewPart } from "./model-folder.ts";
import type { RunWatch } from "./watch.ts";

export type OpenModel = (location: string) => Promise<ModelFiles>;

export type Weights = ReadonlyMap<string, Tensor>;

/** The pictures of a run, ready. */
export interface JobData {
  readonly learned: Prepared;
  /** Pictures that are only measured by; null where the run names none. */
  readonly heldOut: Prepared | null;
}

/** Where a sheet of samples goes. */
export interface SamplePlace {
  readonly sheet: string;
  /** The result's folder; the weights of the moment are in it if the kind publishes as it goes. */
  readonly model: string;
  readonly watch: RunWatch;
}

/** What a run trains, with all that is known before its first step. */
export interface Job {
  /** With what its model says filled in, and paths that hold from any folder. */
  readonly run: Run;
  readonly task: Task;
  /** The result's new component. */
  readonly part: NewPart;
  /** Where the result's other parts come from; null: it has none. */
  readonly base: ModelFiles | null;
  /** That nothing of its model's weights is learned on, in words, where that is so. */
  readonly note?: string;
  /** What will be in memory, in words. */
  readonly memory: string;
  /** How records of the data are read. */
  readonly records: RecordOptions;
  readonly heldOut: readonly string[];
  /** What pictures are brought to: one size, or buckets. */
  readonly sizes: readonly [Size, ...Size[]];
  /** Whether mirrored views are kept, or pictures are mirrored as they are seen. */
  readonly keepsFlips: boolean;
  readonly loading: Pick<LoaderOptions, "emptyCaptions" | "hasText">;
  /** Whether each process of a job takes whole batches of a step; else it takes its share of every batch. */
  readonly hasWholeBatches?: true;
  /** What must be ready before the first step and rests on the data, and more parts of the result, where there are any. */
  begin?(data: JobData): Promise<readonly NewPart[]>;
  /** What pictures and captions are kept as, once for all steps. */
  encoders(): Promise<Pick<PrepareOptions, "pictures" | "captions">>;
  /** Weights as they go into the result, and fields of its config.json that they bring along. */
  result(weights: Weights, data: JobData): Promise<{ readonly weights: Weights; readonly config: object }>;
  /** Whether samples are drawn with the result's folder, which is then written before each sheet. */
  readonly isDrawnFromResult: boolean;
  /** Draws a sheet with `weights`, and says what it measured. */
  sample(place: SamplePlace, weights: Weights, data: JobData): Promise<Measures>;
  dispose(): Promise<void>;
}

export interface JobOptions {
  readonly engine: Engine;
  readonly open: OpenModel;
  /** Of the data, which need not be there before the first step. */
  readonly loader: Pick<Loader, "at">;
  readonly warn: (line: string) => void;
  /** Which of the processes that train together this is. */
  readonly share: Share;
  /** The run's folder, which need not be there before the first step. */
  readonly folder: string;
  /** Steps of the checkpoint that the run goes on from, 0 where it has none yet; null: the run is new. */
  readonly done: number | null;
}

/** A loader of data that is prepared later: a run is checked as a whole before anything is written. */
export class LateLoader {
  #loader: Loader | null = null;

  fill({ run, loading, hasWholeBatches }: Job, prepared: Prepared, { rank, size }: Share): void {
    this.#loader = batchLoader(prepared, {
      ...{ seed: run.seed, batch: run.batch, ...loading },
      isBalanced: run.group !== undefined,
      ...(hasWholeBatches ? { rank: 0, world: 1 } : { rank, world: size }),
    });
  }

  at(step: number): Promise<Batch> {
    return (this.#loader as Loader).at(step);
  }
}

/** @throws KoalaError E_CONFIG when the side of pictures, in pixels, is no whole number of latent cells, or of patches of them */
export function checkSide(where: string, side: number, cell: number, unit = "latent cell"): void {
  check(side % cell === 0, "E_CONFIG", () => ({
    where,
    expected: `a multiple of ${cell} px, the size of this model's ${unit}`,
    got: `${side}`,
  }));
}

/** This process's part of a batch, in pictures. @throws KoalaError E_CONFIG for a batch that has no equal parts */
export function ownBatch({ batch }: CommonRun, { size }: Share): number {
  check(batch % size === 0, "E_CONFIG", () => ({
    where: "batch",
    expected: `a multiple of the ${size} processes, each of which takes an equal share`,
    got: `${batch}`,
  }));
  return batch / size;
}

/** The one square of a run whose pictures have no aspect. */
export const squareOf = ({ resolution: side = 0 }: CommonRun): readonly [Size] => [
  { width: side, height: side },
];

/** Latent cells between the sides of buckets: SDXL's are multiples of 64 px, of 8 px each. */
const BUCKET_CELLS = 8;

/**
 * What pictures are brought to, in a model whose latent cell has `cell` px.
 * @throws KoalaError E_CONFIG when the resolution is no bucket itself
 */
export function sizesOf(run: PromptedRun, cell: number): readonly [Size, ...Size[]] {
  const { resolution = 0, buckets } = run;
  if (!buckets) return squareOf(run);
  return makeBuckets({ resolution, step: BUCKET_CELLS * cell, hasAspects: true }) as [Size, ...Size[]];
}

/** Programs of a step that are in memory at a time. */
export const programsOf = (run: Run, sizes: readonly Size[]): number =>
  "bucketPrograms" in run ? Math.min(run.bucketPrograms, sizes.length) : 1;

/** What a task will hold while it is trained as the run says. */
export const memoryOf = (task: Task, run: Run, sizes: readonly Size[] = squareOf(run)): RunMemory =>
  runMemory(task, {
    optimizer: optimizerOf(run),
    average: run.ema > 0 ? averageDtypeOf(run) : null,
    cuts: run.recompute,
    accumulate: run.accumulate,
    programs: programsOf(run, sizes),
  });

export const memoryText = (memory: RunMemory): string =>
  `${bytes(learningBytes(memory))} of weights, gradients and moments, ${bytes(memory.values)} of values in a step`;

/** In words; `frozen` is what the weights are that stay as they are. */
export function memoryLine(memory: RunMemory, frozen = "weights that stay"): string {
  const beside = memory.frozen === 0 ? "" : `${bytes(memory.frozen)} of ${frozen}; `;
  return `at least ${bytes(trainingBytes(memory))} of memory: ${beside}${memoryText(memory)}`;
}
