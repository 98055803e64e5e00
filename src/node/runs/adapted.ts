/** What a run of low-rank additions leaves: the denoiser with them merged in, and the additions alone as a LoRA file. */

import { check } from "../../core/assert.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import type { LoraFields } from "../../train/config.ts";
import type { LoraOptions } from "../../train/learner.ts";
import { mergedWeights, parseLoraTargets } from "../../train/lora.ts";
import type { Network } from "../../train/networks/network.ts";
import type { Task } from "../../train/tasks/task.ts";
import type { Job } from "./job.ts";
import type { NewPart } from "./model-folder.ts";

/** Which of the results are a denoiser's own weights: a LoRA's names begin with its component's. */
export const notLora: RegExp = /^(?!(unet|transformer)\.)/;

/** diffusers' name of the file; it lies beside model_index.json, where `load_lora_weights` looks for it. */
export const loraPart: NewPart = {
  name: "",
  files: {},
  file: "pytorch_lora_weights.safetensors",
  holds: /^(unet|transformer)\./,
};

/** @throws KoalaError E_CONFIG for unknown targets */
export function loraOf(
  { lora: rank, loraTargets, seed }: LoraFields & { seed: number },
  { name: network }: Pick<Network, "name">,
): LoraOptions | undefined {
  const targets = parseLoraTargets(loraTargets);
  return rank === undefined ? undefined : { network, rank, targets, seed };
}

/** @throws KoalaError E_CONFIG when the network has none of the layers that should learn */
export function checkLora(
  weights: Task["weights"],
  { lora, loraTargets }: LoraFields,
  { title }: Pick<Network, "title">,
): void {
  check(lora === undefined || weights.size > 0, "E_CONFIG", () => ({
    where: "loraTargets",
    expected: `layers that this ${title} has`,
    got: `${loraTargets.join(", ")}, of which it has none`,
  }));
}

/** Of a run whose additions go to the weights of `base`, which are those of the network. */
export const adaptedResult = (
  { name }: Pick<Network, "name">,
  base: TensorStore,
): Pick<Job, "begin" | "result"> => ({
  begin: async () => [loraPart],
  result: async (lora) => ({
    weights: new Map([...(await mergedWeights(name, base, base.tensors.keys(), lora)), ...lora]),
    config: {},
  }),
});
