/**
 * Which weights of a denoiser get low-rank additions, what these are called in a file, and the weights with them.
 * Source of names: diffusers 0.42, `save_lora_weights` (`pytorch_lora_weights.safetensors`, PEFT's lora_A and lora_B).
 */

import { check } from "../core/assert.ts";
import { nearest } from "../core/nearest.ts";
import type { TensorStore } from "../tensor/stored.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { plusLowRank } from "../weights/merged.ts";

export const loraTargets = ["attention", "feedforward", "projection", "resnet", "sampler"] as const;
export type LoraTarget = (typeof loraTargets)[number];

/**
 * Kinds of layers by the ends of their names. Together they are those of PCM (G-U-N/Phased-Consistency-Model at b127277);
 * `attention` alone is what diffusers' `train_text_to_image_lora_sdxl.py` takes.
 */
const kinds: Readonly<Record<LoraTarget, RegExp>> = {
  attention: /\.(to_q|to_k|to_v|to_out\.0)$/,
  feedforward: /\.ff\.net\.(0\.proj|2)$/,
  projection: /\.attentions\.\d+\.(proj_in|proj_out)$/,
  resnet: /\.(conv1|conv2|conv_shortcut|time_emb_proj)$/,
  sampler: /\.(downsamplers|upsamplers)\.0\.conv$/,
};

/** @throws KoalaError E_CONFIG that names the nearest kinds */
export function parseLoraTargets(names: readonly string[]): LoraTarget[] {
  for (const name of names) {
    const near = nearest(name, loraTargets);
    check((loraTargets as readonly string[]).includes(name), "E_CONFIG", () => ({
      where: "loraTargets",
      expected: `some of ${loraTargets.join(", ")}`,
      got: JSON.stringify(name),
      ...(near.length === 0 ? {} : { hint: `Did you mean ${near.join(" or ")}?` }),
    }));
  }
  return names as LoraTarget[];
}

const MODULE = /^(.*)\.weight$/;

/** Whether the weight called `name` is of one of those kinds. */
export function takesLora(name: string, targets: readonly LoraTarget[]): boolean {
  const module = MODULE.exec(name)?.[1];
  return module !== undefined && targets.some((target) => kinds[target].test(module));
}

/** What the two matrices of the weight `name` of a network are called in a file: after the network's folder. */
export function loraNames(network: string, name: string): { readonly down: string; readonly up: string } {
  const module = MODULE.exec(name)?.[1] ?? name;
  return { down: `${network}.${module}.lora_A.weight`, up: `${network}.${module}.lora_B.weight` };
}

/** The weights of `base`, of the network of that name, with what a LoRA's tensors `lora` add to them. */
export async function mergedWeights(
  network: string,
  base: TensorStore,
  names: Iterable<string>,
  lora: ReadonlyMap<string, Tensor>,
): Promise<Map<string, Tensor>> {
  const out = new Map<string, Tensor>();
  for (const name of names) {
    const own = loraNames(network, name);
    const [weight, up, down] = [await base.read(name), lora.get(own.up), lora.get(own.down)];
    out.set(name, up === undefined || down === undefined ? weight : plusLowRank(weight, up, down));
  }
  return out;
}
