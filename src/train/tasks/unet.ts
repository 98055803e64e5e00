/** Training a U-Net on its own: the squared error of its prediction, each picture by its weight. */

import type { Value } from "../../graph/op.ts";
import { type UNetInputs, type UNetSize, unet, unetInputs } from "../../models/unet.ts";
import type { UNetConfig } from "../../models/unet-config.ts";
import { Scope } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { type LoraOptions, loraLearner, wholeLearner } from "../learner.ts";
import { weightedMse } from "../objective.ts";
import { type NoisedOptions, noisedFeeds, targetInput, weightInput } from "./noised.ts";
import type { Task } from "./task.ts";

export interface UNetTaskOptions {
  readonly config: UNetConfig;
  readonly size: UNetSize;
  readonly initial: TensorStore;
  readonly data: NoisedOptions;
  /** Batches a step. */
  readonly accumulate: number;
  /** What learns in place of the weights; absent: the weights do. */
  readonly lora?: LoraOptions;
}

/** The inputs of a U-Net as leaves that are fed under its own names. */
export function denoiserInputs(c: UNetConfig, size: UNetSize): UNetInputs {
  const types = Object.entries(unetInputs(c, size));
  return Object.fromEntries(types.map(([name, type]) => [name, input(name, type)])) as unknown as UNetInputs;
}

/** Indices of the micro-batches of step `step`, from 1. */
export const microBatches = (step: number, accumulate: number): number[] =>
  Array.from({ length: accumulate }, (_, i) => (step - 1) * accumulate + i);

export const fedWeights = (s: Scope): Map<string, Value> =>
  new Map([...s.parameters].map(([name, { value }]) => [name, value]));

export function unetTask({ config, size, initial, data, accumulate, lora }: UNetTaskOptions): Task {
  const learner = lora === undefined ? wholeLearner(initial) : loraLearner(initial, "", lora);
  const prediction = unet(new Scope("", new Map(), learner.leaf), denoiserInputs(config, size), config);
  const target = input(targetInput, { shape: prediction.shape });
  const weight = input(weightInput, { shape: [size.batch] });
  return {
    objective: { terms: { task: weightedMse(prediction, target, weight) } },
    weights: learner.weights(),
    initial: learner.initial(),
    frozen: learner.frozen,
    pictures: size.batch * accumulate,
    batches: (step) => Promise.all(microBatches(step, accumulate).map((index) => noisedFeeds(index, data))),
    dispose: async () => {},
  };
}
