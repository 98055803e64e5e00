/** What a run of low-rank additions leaves: the U-Net with them merged in, and the additions alone as a LoRA file. */

import { check } from "../../core/assert.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import type { LoraFields } from "../../train/config.ts";
import type { LoraOptions } from "../../train/learner.ts";
import { mergedWeights, parseLoraTargets } from "../../train/lora.ts";
import type { Task } from "../../train/tasks/task.ts";
import type { Job } from "./job.ts";
import type { NewPart } from "./model-folder.ts";

/** Which of the results are a U-Net's own weights: a LoRA's names begin with its component's. */
export const notLora: RegExp = /^(?!unet\.)/;

/** diffusers' name of the file; it lies beside model_index.json, where `load_lora_weights` looks for it. */
export const loraPart: NewPart = {
  name: "",
  files: {},
  file: "pytorch_lora_weights.safetensors",
  holds: /^unet\./,
};

/** @throws KoalaError E_CONFIG for unknown targets */
export function loraOf({
  lora: rank,
  loraTargets,
  seed,
}: LoraFields & { seed: number }): LoraOptions | undefined {
  const targets = parseLoraTargets(loraTargets);
  return rank === undefined ? undefined : { rank, targets, seed };
}

/** @throws KoalaError E_CONFIG when the U-Net has none of the layers that should learn */
export function checkLora(weights: Task["weights"], { lora, loraTargets }: LoraFields): void {
  check(lora === undefined || weights.size > 0, "E_CONFIG", () => ({
    where: "loraTargets",
    expected: "layers that this U-Net has",
    got: `${loraTargets.join(", ")}, of which it has none`,
  }));
}

/** Of a run whose additions go to the weights of `base`. */
export const adaptedResult = (base: TensorStore): Pick<Job, "begin" | "result"> => ({
  begin: async () => [loraPart],
  result: async (lora) => ({
    weights: new Map([...(await mergedWeights(base, base.tensors.keys(), lora)), ...lora]),
    config: {},
  }),
});
