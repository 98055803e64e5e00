/** What a run trains, whatever it is: a loss over weights, where they begin, and the batches of each step. */

import type { Value } from "../../graph/op.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import type { Objective } from "../segments.ts";
import type { Batch } from "../trainer.ts";

/** A network that learns against the task's own, in turns with it: see `rivals.ts`. */
export interface Rival {
  readonly objective: Objective;
  /** Its leaves; those of the task are plain inputs of its graph, as its own are of the task's. */
  readonly weights: ReadonlyMap<string, Value>;
  readonly initial: TensorStore;
  /** Its learning rate, which stays. */
  readonly rate: number;
}

export interface Task {
  readonly objective: Objective;
  /** The leaves that change, by checkpoint name. */
  readonly weights: ReadonlyMap<string, Value>;
  /** Where they begin. */
  readonly initial: TensorStore;
  /** Weights of the graph that stay as they are. */
  readonly frozen: TensorStore;
  /** What learns against it; batches hold the inputs of both. */
  readonly rival?: Rival;
  /** Pictures of one step, of this process. */
  readonly pictures: number;
  /**
   * What step `step`, from 1, learns from; the same whenever it is asked for. Before a network of the task's own takes memory,
   * `rest` frees what the trainer needs within steps alone.
   */
  batches(step: number, rest?: () => Promise<void>): Promise<readonly Batch[]>;
  /**
   * Makes what step `step` and those after it need of a network of the task's own. A run that goes on asks for it before it reads
   * its checkpoint, whose moments take memory that such a network may need.
   */
  ahead?(step: number): Promise<void>;
  dispose(): Promise<void>;
}
