/**
 * The folder of a quantized pipeline: the configs, tokenizers and scheduler of the model that it was made of, its networks'
 * weights as a recipe says, and a record of what it was made of, by which a source that has changed since is noticed.
 */

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { check } from "../core/assert.ts";
import { quantizedStore } from "../quantize/store.ts";
import type { Recipe } from "../tensor/quantized.ts";
import type { TensorStore } from "../tensor/stored.ts";
import type { ModelFiles } from "../weights/files.ts";
import { readJson } from "../weights/layout.ts";
import { parseRecord, RECIPE_FILE } from "../weights/recipe.ts";
import { planSafetensors, type SafetensorsPlan, streamSafetensors } from "../weights/safetensors-writer.ts";
import { openFolder, writeAtomically } from "./files.ts";

/** One network of the pipeline as it will lie in the folder. */
export interface QuantizedNetwork {
  /** Its folder: `unet`. */
  readonly name: string;
  readonly source: TensorStore;
  /** No layers: only halved. */
  readonly recipe: Recipe;
}

export interface NetworkFile {
  readonly path: string;
  readonly plan: SafetensorsPlan;
  readonly store: TensorStore;
}

/** The weights file of a network, known before a byte is written. */
export function networkFile({ name, source, recipe }: QuantizedNetwork): NetworkFile {
  const store = quantizedStore(source, recipe, { isHalved: true });
  const specs = [...store.tensors].map(([tensor, { dtype, shape }]) => ({ name: tensor, dtype, shape }));
  const file = name.startsWith("text_encoder") ? "model.safetensors" : "diffusion_pytorch_model.safetensors";
  return { path: `${name}/${file}`, plan: planSafetensors(specs, { format: "pt" }), store };
}

/**
 * Writes the weights and the recipe of a network into `folder`.
 * @throws KoalaError E_DISK, E_OUTPUT, E_WEIGHTS
 */
export async function writeNetwork(
  folder: string,
  network: QuantizedNetwork,
  onBytes: (file: string, bytes: number) => void,
): Promise<void> {
  const { path, plan, store } = networkFile(network);
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for await (const piece of streamSafetensors(plan, ({ name }) => store.read(name))) {
      yield piece;
      onBytes(path, piece.length);
    }
  }
  await writeAtomically(join(folder, path), pieces());
  if (Object.keys(network.recipe.layers).length > 0)
    await writeFile(join(folder, network.name, RECIPE_FILE), `${JSON.stringify(network.recipe, null, 1)}\n`);
}

/** Bytes read of a file to know it by: its head, which lists every tensor, and pieces spread over the rest. */
const HEAD_BYTES = 2 ** 18;
const PIECES = 64;
const PIECE_BYTES = 2 ** 12;

/** Of the weights and configs of a model, by path: changed weights are told in milliseconds, whatever their size. */
export async function fingerprints(files: ModelFiles): Promise<Record<string, string>> {
  const paths = (await files.list()).filter((path) => /\.(safetensors|json)$/.test(path));
  const entries = paths.map(async (path) => [path, await fingerprintOf(files, path)] as const);
  return Object.fromEntries(await Promise.all(entries));
}

async function fingerprintOf(files: ModelFiles, path: string): Promise<string> {
  const bytes = await files.size(path);
  const hash = createHash("sha256").update(`${bytes} `);
  hash.update(await files.read(path, 0, Math.min(HEAD_BYTES, bytes)));
  for (let i = 1; i <= PIECES && bytes > HEAD_BYTES; i++) {
    const end = HEAD_BYTES + Math.floor(((bytes - HEAD_BYTES) * i) / PIECES);
    hash.update(await files.read(path, Math.max(HEAD_BYTES, end - PIECE_BYTES), end));
  }
  return hash.digest("hex").slice(0, 32);
}

/**
 * Holds that the model that a quantized folder was made of is as it was, where it is still there.
 * @throws KoalaError E_MODEL
 */
export async function checkSource(folder: ModelFiles): Promise<void> {
  if (!(await folder.list()).includes(RECIPE_FILE)) return;
  const { source } = parseRecord(await readJson(folder, RECIPE_FILE), `${folder.location}/${RECIPE_FILE}`);
  if (!isAbsolute(source.location) || !existsSync(source.location)) return;
  const now = await fingerprints(await openFolder(source.location));
  const changed = Object.keys(source.files).find((path) => now[path] !== source.files[path]);
  check(changed === undefined, "E_MODEL", () => ({
    where: folder.location,
    expected: `${source.location} as it was when this was quantized from it`,
    got: `a ${changed} that is ${now[changed ?? ""] === undefined ? "gone" : "another"} now`,
    hint: "Quantize it again: koala quantize.",
  }));
}
