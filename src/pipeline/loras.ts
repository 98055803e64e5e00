/** Low-rank adapters on a loaded model: which of their layers it has a place for, and what it makes of the others. */

import { check } from "../core/assert.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { tellUnread } from "../weights/check.ts";
import type { ModelFiles } from "../weights/files.ts";
import { readJson } from "../weights/json.ts";
import { type LoraMatch, loraContent, matchLora, withLora } from "../weights/lora.ts";
import { adapterConfigOf, headerScale, type LoraScale, peftScale } from "../weights/lora-scale.ts";
import { openSafetensors, type SafetensorsFile } from "../weights/safetensors.ts";

/** A network whose weights a LoRA may change, by its folder's name. */
export interface Adaptable {
  readonly name: string;
  readonly store: TensorStore;
}

/** Networks with other weights, in the same order. */
export type Adapt = (networks: readonly Adaptable[]) => Promise<readonly TensorStore[]>;

export interface LoraChoice {
  /** A file, a folder with one, or a hub id. */
  readonly location: string;
  /** 1: as it was trained. */
  readonly weight: number;
}

/** What diffusers and PEFT call the file. */
const usualNames = ["pytorch_lora_weights.safetensors", "adapter_model.safetensors"];

/** The one weights file of a folder, or the file that was named. @throws KoalaError E_MODEL */
async function loraFile(files: ModelFiles): Promise<string> {
  const paths = (await files.list()).filter((path) => path.endsWith(".safetensors"));
  const usual = usualNames.find((name) => paths.includes(name));
  const only = usual ?? (paths.length === 1 ? paths[0] : undefined);
  check(only !== undefined, "E_MODEL", () => ({
    where: files.location,
    expected: "one LoRA (.safetensors)",
    got: paths.length === 0 ? "none" : `${paths.length} files: ${paths.slice(0, 3).join(", ")}`,
    ...(paths.length === 0 ? {} : { hint: "Name one of them." }),
  }));
  return only;
}

/** What is known of the scale of layers without an α; undefined: nothing. @throws KoalaError E_FILE, E_CONFIG */
async function scaleOf(
  files: ModelFiles,
  path: string,
  { metadata }: SafetensorsFile,
): Promise<LoraScale | undefined> {
  const where = `${files.location}/${path}`;
  const config = adapterConfigOf(path);
  if (config === null || !(await files.list()).includes(config))
    return headerScale(metadata, where) ?? undefined;
  return peftScale(await readJson(files, config), `${files.location}/${config}`);
}

/** Files of a U-Net may call it a transformer's. */
const isOf = (part: string, name: string): boolean =>
  part === name || (name === "unet" && part === "transformer");

/**
 * Adds every LoRA to the networks in its weight; what a model has no place for is told by block.
 * @throws KoalaError E_WEIGHTS when nothing of a LoRA fits, E_CONFIG, E_MODEL, E_FILE, E_SAFETENSORS
 */
export async function withLoras(
  networks: readonly Adaptable[],
  choices: readonly LoraChoice[],
  o: { open(location: string): Promise<ModelFiles>; warn(message: string): void },
): Promise<readonly TensorStore[]> {
  let stores = networks.map(({ store }) => store);
  for (const [i, { location, weight }] of choices.entries()) {
    const files = await o.open(location);
    const path = await loraFile(files);
    const lora = await openSafetensors(files, path);
    const scale = await scaleOf(files, path, lora);
    const { layers, unread } = loraContent(lora, location);
    tellUnread(unread, location, o.warn);
    const used: LoraMatch["blocks"][number][] = [];
    const add = async (store: TensorStore, name: string): Promise<TensorStore> => {
      const own = layers.filter(({ part }) => isOf(part, name));
      if (own.length === 0) return store;
      const match = matchLora(own, store.tensors.keys());
      used.push(...match.blocks);
      if (match.layers.size === 0) return store;
      return withLora(store, lora, match, {
        ...{ weight, prefix: `lora.${i}.`, where: location },
        ...(scale === undefined ? {} : { scale }),
      });
    };
    const next: TensorStore[] = [];
    for (const [n, store] of stores.entries()) next.push(await add(store, networks[n]?.name ?? ""));
    const strange = layers.filter(({ part }) => !networks.some(({ name }) => isOf(part, name)));
    for (const part of new Set(strange.map((layer) => layer.part)))
      used.push({ block: part, used: 0, dropped: strange.filter((layer) => layer.part === part).length });
    checkUse(location, used, o.warn);
    stores = next;
  }
  return stores;
}

/** @throws KoalaError E_WEIGHTS when nothing fits */
function checkUse(location: string, blocks: LoraMatch["blocks"], warn: (message: string) => void): void {
  const used = blocks.reduce((sum, block) => sum + block.used, 0);
  const dropped = blocks.filter((block) => block.dropped > 0);
  const named = dropped.map(({ block, dropped: count }) => `${block} (${count})`);
  const shown =
    named.length > 8
      ? `${named.slice(0, 8).join(", ")} and ${named.length - 8} more blocks`
      : named.join(", ");
  check(used > 0, "E_WEIGHTS", () => ({
    where: location,
    expected: "a LoRA of this model or of its teacher",
    got: `one whose layers it has no place for: ${shown}`,
  }));
  const lost = dropped.reduce((sum, block) => sum + block.dropped, 0);
  if (lost > 0) warn(`${location}: ${used} layers are used; the model has no place for ${lost}: ${shown}`);
}
