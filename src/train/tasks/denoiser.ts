/** Training a denoiser on its own: the squared error of its prediction, each picture by its weight. */

import type { Value } from "../../graph/op.ts";
import { Scope } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";
import type { DenoiserSize } from "../../pipeline/networks.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { type LoraOptions, loraLearner, wholeLearner } from "../learner.ts";
import { type Network, networkInputs } from "../networks/network.ts";
import { weightedMse } from "../objective.ts";
import { type NoisedOptions, noisedFeeds, objectiveOf, targetInput, weightInput } from "./noised.ts";
import type { Task } from "./task.ts";

export interface DenoiserTaskOptions {
  readonly network: Network;
  readonly size: DenoiserSize;
  /** Where its weights begin. */
  readonly initial: TensorStore;
  readonly data: NoisedOptions;
  /** Batches a step. */
  readonly accumulate: number;
  /** What learns in place of the weights; absent: the weights do. */
  readonly lora?: LoraOptions;
}

/** Indices of the micro-batches of step `step`, from 1. */
export const microBatches = (step: number, accumulate: number): number[] =>
  Array.from({ length: accumulate }, (_, i) => (step - 1) * accumulate + i);

export const fedWeights = (s: Scope): Map<string, Value> =>
  new Map([...s.parameters].map(([name, { value }]) => [name, value]));

export function denoiserTask({ network, size, initial, data, accumulate, lora }: DenoiserTaskOptions): Task {
  const learner = lora === undefined ? wholeLearner(initial) : loraLearner(initial, "", lora);
  const objective = objectiveOf({ size, hasSizes: data.hasSizes }, (at) => {
    const prediction = network.predict(new Scope("", new Map(), learner.leaf), networkInputs(network, at));
    const target = input(targetInput, { shape: prediction.shape });
    const weight = input(weightInput, { shape: [at.batch] });
    return { terms: { task: weightedMse(prediction, target, weight) } };
  });
  return {
    objective,
    weights: learner.weights(),
    initial: learner.initial(),
    frozen: learner.frozen,
    pictures: size.batch * accumulate,
    batches: (step) => Promise.all(microBatches(step, accumulate).map((index) => noisedFeeds(index, data))),
    dispose: async () => {},
  };
}
