/**
 * Single checkpoint files: the LDM layout of Stable Diffusion 1, 2 and XL, and a bare U-Net in diffusers' names.
 * Each model in the file becomes a store under diffusers' names, by offset wherever its bytes stay as they are,
 * with the config that its shapes tell. The names are declared in ldm-table.ts.
 */

import { KoalaError } from "../core/errors.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { toFloat32 } from "../tensor/tensor.ts";
import { type InferredConfig, inferTextConfig, inferUnetConfig, inferVaeConfig } from "./infer.ts";
import { type LdmComponent, type LdmPart, ldmComponents, ldmIgnored } from "./ldm-table.ts";
import { type NumberFunctions, rename } from "./names.ts";
import { deriveStore } from "./stores.ts";

/** Which pipeline the file is for: it decides scaling, tokenizers and conditioning. */
export type Family = "sd1" | "sd2" | "sdxl";

export interface SingleFilePart {
  /** As `model_index.json` would name it. */
  readonly className: string;
  readonly config: InferredConfig;
  readonly store: TensorStore;
}

export interface SingleFile {
  readonly family: Family;
  readonly layout: "ldm" | "diffusers";
  readonly predictionType: "epsilon" | "v_prediction";
  /** Whether it was trained with noise alone at the last timestep: an empty tensor `ztsnr` beside `v_pred`, as ComfyUI reads it. */
  readonly isZeroSnr: boolean;
  /** The models that are in the file; a bare U-Net has no others. */
  readonly parts: ReadonlyMap<LdmPart, SingleFilePart>;
  /** Tensors that belong to no model known here. */
  readonly surplus: readonly string[];
}

/** Latents are multiplied by this after encoding: `scale_factor` of the v1, v2 and sd_xl_base inference configs. */
const scalingFactors: Readonly<Record<Family, number>> = { sd1: 0.18215, sd2: 0.18215, sdxl: 0.13025 };

/**
 * Latent cells on a side of the pictures that a family was trained on: 512 px for SD 1 and SD 2's base, 768 px for SD 2's
 * v models, 1024 px for SDXL (`DIFFUSERS_TO_LDM_DEFAULT_IMAGE_SIZE_MAP` of diffusers). No tensor holds it.
 */
function sampleSizeOf(family: Family, predictionType: string): number {
  if (family === "sdxl") return 128;
  return family === "sd2" && predictionType === "v_prediction" ? 96 : 64;
}

/** What else such a file may be, by a part of a name, for the error. */
const strangers: readonly (readonly [RegExp, string])[] = [
  [/lora_(unet|te|down|A)|\.lora\./, "It looks like a LoRA, which changes a model and is none by itself."],
  [/double_blocks\.|joint_blocks\./, "It looks like Flux or Stable Diffusion 3, which koala does not know."],
  [/control_model\.|input_hint_block|controlnet_/, "It looks like a ControlNet, which koala does not know."],
  [
    /^(first_stage_model\.)?(encoder|decoder)\./,
    "It looks like a VAE alone: put it into a model folder's vae/ instead.",
  ],
];

/**
 * Level and layer of each block in a list; `closesLevel(i)` says whether block i is or ends with a down- or upsampler.
 * The first level begins at block `first`.
 */
function walk(
  count: number,
  first: number,
  closesLevel: (i: number) => boolean,
): { level: number[]; layer: number[] } {
  const level: number[] = [];
  const layer: number[] = [];
  let l = 0;
  let start = first;
  for (let i = 0; i < count; i++) {
    level.push(l);
    layer.push(i - start);
    if (closesLevel(i)) {
      l++;
      start = i + 1;
    }
  }
  return { level, layer };
}

/** How many `prefix0.`, `prefix1.`, … there are. */
function countBlocks(names: Iterable<string>, prefix: string): number {
  let n = 0;
  for (const name of names) {
    if (name.startsWith(prefix)) n = Math.max(n, Number.parseInt(name.slice(prefix.length), 10) + 1);
  }
  return n;
}

/** The numbers of the name table, for the blocks that this file has. */
export function numberFunctions(store: TensorStore, prefix: string): NumberFunctions {
  const names = store.tensors;
  const inputs = countBlocks(names.keys(), `${prefix}input_blocks.`);
  const outputs = countBlocks(names.keys(), `${prefix}output_blocks.`);
  // block 0 of the inputs is conv_in, before the first level
  const input = walk(inputs, 1, (i) => names.has(`${prefix}input_blocks.${i}.0.op.weight`));
  const output = walk(outputs, 0, (i) =>
    [1, 2].some((slot) => names.has(`${prefix}output_blocks.${i}.${slot}.conv.weight`)),
  );
  const vaeLevels = countBlocks(names.keys(), `${prefix}decoder.up.`);
  return {
    "in.level": (n) => input.level[n] ?? 0,
    "in.layer": (n) => input.layer[n] ?? 0,
    "out.level": (n) => output.level[n] ?? 0,
    "out.layer": (n) => output.layer[n] ?? 0,
    "mid.half": (n) => Math.floor(n / 2),
    "block.before": (n) => n - 1,
    "up.reversed": (n) => vaeLevels - 1 - n,
  };
}

/** One model of the file under diffusers' names, and the names that its table does not speak of. */
function extract(
  store: TensorStore,
  component: LdmComponent,
  prefix: string,
  where: string,
): [TensorStore, string[]] {
  const used = new Map(
    [...store.tensors].filter(([name]) => {
      return (
        name.startsWith(prefix) &&
        !component.unused.some((pattern) => pattern.test(name.slice(prefix.length)))
      );
    }),
  );
  const mine: TensorStore = { tensors: used, read: (name) => store.read(name) };
  const { derived, surplus } = rename(mine, {
    prefix,
    rows: component.rows,
    functions: numberFunctions(mine, prefix),
    where,
  });
  return [deriveStore(mine, derived, where), [...surplus]];
}

/**
 * What a single file holds. Reads the header, and for SD 2 one small tensor.
 * @throws KoalaError E_MODEL when it is no Stable Diffusion checkpoint, E_WEIGHTS, E_CONFIG
 */
export async function detectSingleFile(store: TensorStore, where: string): Promise<SingleFile> {
  if (store.tensors.has("down_blocks.0.resnets.0.conv1.weight")) return bareUnet(store, where);

  const found = new Map<LdmPart, { component: LdmComponent; prefix: string }>();
  for (const component of ldmComponents) {
    const prefix = component.prefixes.find((p) => store.tensors.has(p + component.signature));
    if (prefix !== undefined && !found.has(component.part)) found.set(component.part, { component, prefix });
  }
  if (!found.has("unet")) throw unknownFile(store, where);

  const stores = new Map<LdmPart, TensorStore>();
  const surplus: string[] = [];
  for (const [part, { component, prefix }] of found) {
    const [extracted, rest] = extract(store, component, prefix, where);
    stores.set(part, extracted);
    surplus.push(...rest);
  }
  const prefixes = [...found.values()].map(({ prefix }) => prefix);
  for (const name of store.tensors.keys()) {
    const isKnown =
      prefixes.some((prefix) => name.startsWith(prefix)) || ldmIgnored.some((p) => p.test(name));
    if (!isKnown) surplus.push(name);
  }

  const unet = stores.get("unet") as TensorStore;
  const config = inferUnetConfig(unet, where);
  const textPrefix = found.get("text_encoder")?.prefix ?? "";
  const family = familyOf(config, textPrefix, found.has("text_encoder_2"), store, where);
  const predictionType = await predictionOf(family, unet, config, store);
  const parts = new Map<LdmPart, SingleFilePart>();
  for (const [part, its] of stores) {
    if (part === "unet") parts.set(part, unetPart(its, config, family, predictionType));
    else parts.set(part, describe(part, its, found.get(part)?.prefix ?? "", family, where));
  }
  return {
    family,
    layout: "ldm",
    predictionType,
    isZeroSnr: store.tensors.has("v_pred") && store.tensors.has("ztsnr"),
    parts,
    surplus: surplus.filter((name) => !ldmIgnored.some((pattern) => pattern.test(name))),
  };
}

function unetPart(
  store: TensorStore,
  config: InferredConfig,
  family: Family,
  predictionType: string,
): SingleFilePart {
  const sized = { ...config, sample_size: sampleSizeOf(family, predictionType) };
  return { className: "UNet2DConditionModel", config: sized, store };
}

async function bareUnet(store: TensorStore, where: string): Promise<SingleFile> {
  const config = inferUnetConfig(store, where);
  const family = familyOf(config, "", true, store, where);
  const predictionType = await predictionOf(family, store, config, store);
  return {
    family,
    layout: "diffusers",
    predictionType,
    isZeroSnr: false,
    parts: new Map([["unet", unetPart(store, config, family, predictionType)]]),
    surplus: [],
  };
}

function unknownFile(store: TensorStore, where: string): KoalaError {
  const names = [...store.tensors.keys()];
  const hint = strangers.find(([pattern]) => names.some((name) => pattern.test(name)))?.[1];
  return new KoalaError("E_MODEL", {
    where,
    expected:
      "a Stable Diffusion checkpoint (model.diffusion_model.…) or a U-Net in diffusers' names (down_blocks.…)",
    got: names.length === 0 ? "a file without tensors" : `${names.length} tensors such as ${names[0]}`,
    ...(hint === undefined ? {} : { hint }),
  });
}

function describe(
  part: Exclude<LdmPart, "unet">,
  store: TensorStore,
  prefix: string,
  family: Family,
  where: string,
): SingleFilePart {
  switch (part) {
    case "vae": {
      // SDXL's VAE overflows in float16 (`force_upcast` of its config.json)
      const o = { scalingFactor: scalingFactors[family], mustUpcast: family === "sdxl", where };
      return { className: "AutoencoderKL", config: inferVaeConfig(store, o), store };
    }
    case "text_encoder":
    case "text_encoder_2": {
      const config = inferTextConfig(store, { isOpenClip: prefix.endsWith("model."), where });
      return {
        className: part === "text_encoder" ? "CLIPTextModel" : "CLIPTextModelWithProjection",
        config,
        store,
      };
    }
  }
}

function familyOf(
  config: InferredConfig,
  textPrefix: string,
  hasSecondEncoder: boolean,
  store: TensorStore,
  where: string,
): Family {
  const refuse = (got: string): never => {
    throw new KoalaError("E_MODEL", { where, expected: "Stable Diffusion 1, 2 or XL", got });
  };
  if (store.tensors.has("edm_mean")) refuse("a model of the EDM kind (Playground 2.5)");
  if (config.addition_embed_type === "text_time") {
    if (textPrefix.startsWith("cond_stage_model.")) refuse("a U-Net that takes pictures as prompt (unCLIP)");
    if (!hasSecondEncoder && textPrefix === "conditioner.embedders.0.model.")
      refuse("the refiner of Stable Diffusion XL");
    return "sdxl";
  }
  return config.use_linear_projection === true ? "sd2" : "sd1";
}

/**
 * What the U-Net predicts. No file says it for SD 2: ComfyUI tells the 768 px models (v) from the base (epsilon) by the
 * spread of one bias, above 0.09 for v, and so does this (comfy/supported_models.py, `SD20.model_type`). SDXL files
 * trained for v carry an empty tensor `v_pred`.
 */
async function predictionOf(
  family: Family,
  unet: TensorStore,
  config: InferredConfig,
  store: TensorStore,
): Promise<"epsilon" | "v_prediction"> {
  if (store.tensors.has("v_pred")) return "v_prediction";
  const bias = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias";
  if (family !== "sd2" || config.in_channels !== 4 || !unet.tensors.has(bias)) return "epsilon";
  const values = toFloat32(await unet.read(bias));
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length;
  return Math.sqrt(variance) > 0.09 ? "v_prediction" : "epsilon";
}
