/** What a run trains, whatever it is: a loss over weights, where they begin, and the batches of each step. */

import type { Value } from "../../graph/op.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import type { Objective } from "../segments.ts";
import type { Batch } from "../trainer.ts";

export interface Task {
  readonly objective: Objective;
  /** The leaves that change, by checkpoint name. */
  readonly weights: ReadonlyMap<string, Value>;
  /** Where they begin. */
  readonly initial: TensorStore;
  /** Weights of the graph that stay as they are. */
  readonly frozen: TensorStore;
  /** Pictures of one step. */
  readonly pictures: number;
  /** What step `step`, from 1, learns from; the same whenever it is asked for. */
  batches(step: number): Promise<readonly Batch[]>;
  dispose(): Promise<void>;
}
