/** Small model folders that load: committed configs, weights by the rule of fill.ts, the emoji model's tokenizers. */

import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Built } from "../src/models/built.ts";
import { buildClipText, clipTextConfig } from "../src/models/clip-text.ts";
import { buildDit } from "../src/models/dit.ts";
import { ditConfig } from "../src/models/dit-config.ts";
import { buildT5, t5Config } from "../src/models/t5-encoder.ts";
import { buildUNet } from "../src/models/unet.ts";
import { unetConfig } from "../src/models/unet-config.ts";
import { buildVaeDecoder, buildVaeEncoder, vaeConfig } from "../src/models/vae.ts";
import { castFloat, float32, type Tensor } from "../src/tensor/tensor.ts";
import { serializeSafetensors } from "../src/weights/safetensors-writer.ts";
import { fill } from "./fill.ts";

export const emojiModel = new URL("../models/koala-emoji", import.meta.url).pathname;
const families = new URL("golden/families/", import.meta.url).pathname;

export type Weights = Readonly<Record<string, Tensor>>;

/** Every weight of these graphs, by its name in diffusers. */
const filled = (...parts: readonly Built[]): Weights =>
  Object.fromEntries(
    parts.flatMap(({ parameters }) =>
      [...parameters].map(([name, { value }]) => [name, float32(value.shape, fill(name, value.shape))]),
    ),
  );

/** Weights for `config.json` of a component: its name tells what it is. */
export function weightsFor(component: string, config: unknown): Weights {
  if (component === "unet")
    return filled(buildUNet(unetConfig(config), { batch: 1, height: 8, width: 8, tokens: 1 }));
  if (component === "vae") {
    const pixels = { batch: 1, height: 64, width: 64 };
    return filled(buildVaeEncoder(vaeConfig(config), pixels), buildVaeDecoder(vaeConfig(config), pixels));
  }
  if (component === "transformer") {
    const c = ditConfig(config);
    return filled(buildDit(c, { batch: 1, height: c.patch, width: c.patch, tokens: 1 }));
  }
  if ((config as { model_type?: unknown }).model_type === "t5")
    return filled(buildT5(t5Config(config), { batch: 1, tokens: 2 }));
  return filled(buildClipText(clipTextConfig(config), { batch: 1, tokens: 2 }));
}

/** The usual name of a component's weights inside a model folder. */
export const weightPath = (component: string, variant = ""): string =>
  `${component}/${component.startsWith("text") ? "model" : "diffusion_pytorch_model"}${variant}.safetensors`;

export type FloatType = "float32" | "float16" | "bfloat16";

export function writeWeights(path: string, weights: Weights, dtype: FloatType = "float32"): void {
  mkdirSync(dirname(path), { recursive: true });
  const cast = Object.entries(weights).map(([name, t]) => [name, castFloat(t, dtype)] as const);
  writeFileSync(path, serializeSafetensors(Object.fromEntries(cast)));
}

export const readJsonFile = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, "utf8"));

/** Python's JSON has `-Infinity`, which schedulers' files use. */
export const pythonJson = (value: unknown): string =>
  JSON.stringify(value, (_, v) => (v === Number.NEGATIVE_INFINITY ? "-inf" : v)).replace(
    '"-inf"',
    "-Infinity",
  );

export interface FamilyOptions {
  /** Instead of the family's own scheduler_config.json. */
  readonly scheduler?: object | undefined;
  /** How weights are stored. */
  readonly dtype?: FloatType;
  /** Between a weight file's name and its extension: `.fp16`. */
  readonly variant?: string;
}

/** Makes `folder` a model of the tiny family of that name in test/golden/families. */
export function writeFamily(folder: string, family: string, o: FamilyOptions = {}): string {
  cpSync(join(families, family), folder, { recursive: true });
  const index = readJsonFile(join(folder, "model_index.json"));
  const encoders = ["text_encoder", "text_encoder_2"].filter((name) => index[name] !== undefined);
  for (const component of ["unet", "vae", ...encoders]) {
    const weights = weightsFor(component, readJsonFile(join(folder, component, "config.json")));
    writeWeights(join(folder, weightPath(component, o.variant)), weights, o.dtype);
  }
  for (const encoder of encoders) copyTokenizer(folder, encoder.replace("text_encoder", "tokenizer"));
  if (o.scheduler !== undefined)
    writeFileSync(join(folder, "scheduler/scheduler_config.json"), pythonJson(o.scheduler));
  return folder;
}

/** The family with a U-Net that reads a mask and a masked picture beside the latents. */
export function writeInpainting(folder: string, family: string, scheduler?: object): string {
  writeFamily(folder, family, { scheduler });
  const config = { ...readJsonFile(join(folder, "unet/config.json")), in_channels: 9 };
  writeFileSync(join(folder, "unet/config.json"), JSON.stringify(config));
  writeWeights(join(folder, weightPath("unet")), weightsFor("unet", config));
  const index = readJsonFile(join(folder, "model_index.json"));
  const className = String(index._class_name).replace("Pipeline", "InpaintPipeline");
  writeFileSync(join(folder, "model_index.json"), JSON.stringify({ ...index, _class_name: className }));
  return folder;
}

const pixart = new URL("golden/pixart/", import.meta.url).pathname;

/** Makes `folder` the tiny PixArt of that name in test/golden/pixart: `alpha` or `sigma`. */
export function writePixart(folder: string, name: string): string {
  cpSync(join(pixart, name), folder, { recursive: true });
  cpSync(join(pixart, "tokenizer"), join(folder, "tokenizer"), { recursive: true });
  for (const component of ["transformer", "vae", "text_encoder"]) {
    const weights = weightsFor(component, readJsonFile(join(folder, component, "config.json")));
    writeWeights(join(folder, weightPath(component)), weights);
  }
  return folder;
}

export const copyTokenizer = (folder: string, name: string): void =>
  cpSync(join(emojiModel, name), join(folder, name), { recursive: true });
