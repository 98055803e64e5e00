/** What `koala quantize` makes of a model: the recipe of each network, the report, the folder. */

import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { check } from "../../core/assert.ts";
import type { Value } from "../../graph/op.ts";
import { buildClipText, clipTextConfig } from "../../models/clip-text.ts";
import { buildDitNoise } from "../../models/dit.ts";
import { ditConfig } from "../../models/dit-config.ts";
import { buildT5, t5Config } from "../../models/t5-encoder.ts";
import { buildUNet } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import { toldOrNot } from "../../pipeline/pixart.ts";
import type { Format } from "../../quantize/plan.ts";
import {
  type DenoiserGraph,
  type DenoiserOptions,
  type DenoiserResult,
  type KeptOut,
  MEASURED_STEPS,
  quantizeDenoiser,
} from "../../quantize/unet.ts";
import { weightsRecipe } from "../../quantize/weights.ts";
import type { Recipe } from "../../tensor/quantized.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { type Component, type ModelIndex, openComponent, readModelIndex } from "../../weights/layout.ts";
import { type QuantizationRecord, RECIPE_FILE } from "../../weights/recipe.ts";
import { fingerprints, networkFile, type QuantizedNetwork, writeNetwork } from "../quantized-folder.ts";
import { componentCopies, placeCopy } from "./component-files.ts";

/**
 * Signal to noise of the prediction, in dB, below which layers go back to floats. koala-emoji's pictures then stay above
 * 25 dB of those in floats, on the mean of many (docs/quantization.md).
 */
export const TARGET_SNR = 30;

/** The networks that are made small, by the folder that each has in a pipeline. */
const networkNames = ["unet", "transformer", "text_encoder", "text_encoder_2", "vae"] as const;
type NetworkName = (typeof networkNames)[number];

export interface Source {
  readonly files: ModelFiles;
  readonly index: ModelIndex;
  readonly networks: ReadonlyMap<NetworkName, Component>;
}

/**
 * A pipeline's folder in floats.
 * @throws KoalaError E_MODEL for what is no such folder or is quantized already, E_FILE, E_CONFIG, E_SAFETENSORS
 */
export async function openSource(files: ModelFiles): Promise<Source> {
  const index = await readModelIndex(files);
  check(index !== null, "E_MODEL", () => ({
    where: files.location,
    expected: "a pipeline's folder, with a model_index.json",
    got: "none",
  }));
  const networks = new Map<NetworkName, Component>();
  for (const name of networkNames) {
    if (!index.components.has(name)) continue;
    const component = await openComponent(files, name);
    check(component.store.recipe === undefined, "E_MODEL", () => ({
      where: files.location,
      expected: "a model in floats",
      got: "one that is quantized already",
      hint: "Take the model that it was quantized from.",
    }));
    networks.set(name, component);
  }
  return { files, index, networks };
}

export interface PlanOptions extends Omit<DenoiserOptions, "store" | "targetSnr"> {
  readonly signal: AbortSignal;
}

export interface Planned {
  readonly denoiser: DenoiserResult;
  readonly networks: readonly QuantizedNetwork[];
}

/**
 * The recipe of each network: the denoiser's is measured, the encoders' follows from their form, the VAE is only halved.
 * @throws KoalaError E_CONFIG, E_WEIGHTS, E_ENGINE
 */
export async function planNetworks({ networks, files }: Source, o: PlanOptions): Promise<Planned> {
  const denoiser = await quantizeOne(networks, files.location, o);
  const made: QuantizedNetwork[] = [];
  for (const [name, { config, store }] of networks) {
    const recipe: Recipe =
      name === "unet" || name === "transformer"
        ? denoiser.recipe
        : name === "vae"
          ? { layers: {} }
          : weightsRecipe(
              textGraph(config, `${files.location}/${name}/config.json`),
              o.format === "int4" ? 4 : 8,
            );
    made.push({ name, source: store, recipe });
  }
  return { denoiser, networks: made };
}

/** A text encoder's graph, by what its config.json says it is. */
function textGraph(config: unknown, where: string): Readonly<Record<string, Value>> {
  if ((config as { model_type?: unknown } | null)?.model_type === "t5")
    return buildT5(t5Config(config, where), { batch: 1, tokens: 8 }).outputs;
  const clip = clipTextConfig(config, where);
  return buildClipText(clip, { batch: 1, tokens: clip.positions }).outputs;
}

function denoiserGraph(networks: Source["networks"], where: string): DenoiserGraph | null {
  const [unet, transformer] = [networks.get("unet"), networks.get("transformer")];
  if (unet !== undefined) {
    const c = unetConfig(unet.config, `${where}/unet/config.json`);
    return (size) => buildUNet(c, size).outputs;
  }
  if (transformer === undefined) return null;
  const file = `${where}/transformer/config.json`;
  const c = ditConfig(toldOrNot(transformer.config, transformer.store, file), file);
  return (size) => buildDitNoise(c, size).outputs;
}

async function quantizeOne(
  networks: Source["networks"],
  where: string,
  o: PlanOptions,
): Promise<DenoiserResult> {
  const graph = denoiserGraph(networks, where);
  const { store } = networks.get("unet") ?? networks.get("transformer") ?? {};
  check(graph !== null && store !== undefined, "E_MODEL", () => ({
    where,
    expected: "a model with a U-Net or a transformer",
    got: "none",
  }));
  const { signal, onStage } = o;
  return quantizeDenoiser(graph, {
    ...{ ...o, store, targetSnr: TARGET_SNR },
    onStage(text, done, total) {
      signal.throwIfAborted();
      onStage?.(text, done, total);
    },
  });
}

/** What is printed, and kept in the folder. */
export interface QuantizationReport extends QuantizationRecord {
  readonly format: Format;
  readonly bytes: { readonly before: number; readonly after: number };
  readonly networks: readonly { readonly name: string; readonly before: number; readonly after: number }[];
  /** Of the arithmetic of one step of the denoiser: 0 to 1. */
  readonly integerShare: number;
  /** Of the denoiser's prediction on steps of the float trajectory, in dB. */
  readonly snr: number;
  readonly keptOut: readonly KeptOut[];
  readonly calibration: { readonly prompts: number; readonly steps: number; readonly measured: number };
  readonly seconds: number;
}

export interface Made extends Planned {
  readonly format: Format;
  readonly source: Source;
  readonly prompts: number;
  readonly steps: number;
}

/** A path that means the same from everywhere; a hub id as it is. */
const lasting = (location: string): string => (existsSync(location) ? resolve(location) : location);

const storeBytes = ({ tensors }: TensorStore): number =>
  [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);

export async function reportOf(made: Made, seconds: number): Promise<QuantizationReport> {
  const { format, source, denoiser } = made;
  const files = made.networks.map((network) => [network, networkFile(network)] as const);
  const networks = files.map(([{ name, source: store }, { plan }]) => ({
    ...{ name, before: storeBytes(store), after: plan.byteLength },
  }));
  const sum = (key: "before" | "after"): number => networks.reduce((total, row) => total + row[key], 0);
  return {
    format,
    bytes: { before: sum("before"), after: sum("after") },
    networks,
    integerShare: denoiser.integerShare,
    snr: denoiser.snr,
    keptOut: denoiser.keptOut,
    calibration: {
      ...{ prompts: made.prompts, steps: made.steps, measured: Math.min(MEASURED_STEPS, made.steps) },
    },
    seconds,
    source: { location: lasting(source.files.location), files: await fingerprints(source.files) },
    files: Object.fromEntries(files.map(([, { path, plan }]) => [path, plan.byteLength])),
  };
}

/**
 * Fills a new folder; `onBytes` is told how much of all weights is written.
 * @throws KoalaError E_FILE, E_OUTPUT, E_DISK, E_WEIGHTS
 */
export async function writeQuantized(
  folder: string,
  { source: { files, index }, networks }: Made,
  report: QuantizationReport,
  onBytes: (file: string, done: number) => void,
): Promise<void> {
  const names = networks.map(({ name }) => name);
  for (const copy of await componentCopies(files, index, names)) await placeCopy(files, copy, folder);
  let done = 0;
  for (const network of networks) {
    const path = `${network.name}/config.json`;
    await placeCopy(files, { from: path, to: path, isWeights: false }, folder);
    await writeNetwork(folder, network, (file, more) => {
      done += more;
      onBytes(file, done);
    });
  }
  await writeFile(join(folder, RECIPE_FILE), `${JSON.stringify(report, null, 1)}\n`);
}
