/**
 * PixArt-α and PixArt-Σ from a diffusers folder: a diffusion transformer told by T5. Source: diffusers 0.42,
 * `PixArtAlphaPipeline` and `PixArtSigmaPipeline`; sizes are drawn as they are asked for, without its resolution binning.
 */

import { check } from "../core/assert.ts";
import { timestepEmbedding } from "../models/conditioning.ts";
import { type JsonObject, jsonObject } from "../models/config.ts";
import { buildDit, buildDitNoise, MASKED } from "../models/dit.ts";
import {
  DIT_FEATURES,
  DIT_SINUSOID,
  type DitConfig,
  ditConfig,
  leftInDitFiles,
} from "../models/dit-config.ts";
import { buildT5, buildT5Pieces, type T5Config, t5Config } from "../models/t5-encoder.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { float32, int64 } from "../tensor/tensor.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenize.ts";
import { checkWeights } from "../weights/check.ts";
import { deriveStore } from "../weights/stores.ts";
import type { Denoiser, TextEncoder } from "./networks.ts";
import { openVae, readTokenizer, type Sources, shapes, type VaePart } from "./parts.ts";

/** Longest prompts, in tokens with the one that ends them: `max_sequence_length` of each pipeline. */
const promptTokens = { PixArtAlphaPipeline: 120, PixArtSigmaPipeline: 300 } as const;

export type PixartClass = keyof typeof promptTokens;

export const pixartClasses = Object.keys(promptTokens) as readonly PixartClass[];

export interface PixartParts {
  readonly denoiser: Denoiser;
  readonly text: TextEncoder;
  readonly vae: VaePart;
}

/**
 * Reads everything but the weights' data.
 * @throws KoalaError E_MODEL, E_CONFIG, E_WEIGHTS, E_TOKENIZER, E_FILE, E_SAFETENSORS
 */
export async function openPixart(sources: Sources, className: PixartClass): Promise<PixartParts> {
  const { location } = sources.folder;
  const transformer = await sources.component("transformer");
  const { store } = transformer;
  const json = toldOrNot(transformer.config, store, transformer.configWhere);
  const c = ditConfig(json, transformer.configWhere);
  const smallest = { batch: 1, height: c.patch, width: c.patch, tokens: 1 };
  checkWeights(store, shapes(buildDit(c, smallest)), {
    where: transformer.where,
    mayBeIntegers: true,
    ignorable: leftInDitFiles,
  });

  const vae = await openVae(sources);
  const encoder = await sources.component("text_encoder");
  const t5 = t5Config(encoder.config, encoder.configWhere);
  const named = underSharedName(encoder.store, encoder.where);
  checkWeights(named, shapes(buildT5(t5, { batch: 1, tokens: 2 })), {
    where: encoder.where,
    mayBeIntegers: true,
    ignorable: [/^encoder\.embed_tokens\.weight$/],
  });
  const tokenizer = loadTokenizer(await readTokenizer(sources.folder, "tokenizer"), {
    where: `${location}/tokenizer`,
    contextLength: promptTokens[className],
    vocabSize: t5.vocabulary,
  });

  check(c.textChannels === t5.channels, "E_CONFIG", () => ({
    where: location,
    expected: `a text encoder that gives the ${c.textChannels} channels that the transformer reads`,
    got: `${t5.channels}`,
  }));
  const latents = vae.latentChannels;
  check(c.inChannels === latents && [latents, 2 * latents].includes(c.outChannels), "E_CONFIG", () => ({
    where: location,
    expected: `a transformer from ${latents} to ${latents} or ${2 * latents} channels, those of the VAE`,
    got: `${c.inChannels} to ${c.outChannels}`,
  }));
  return {
    denoiser: ditDenoiser(c, store, json),
    text: t5Encoder("text_encoder", t5, named, tokenizer),
    vae,
  };
}

/** A transformer's config.json in full: files of older diffusers do not say whether sizes are told; the weights do. */
export function toldOrNot(config: unknown, store: Pick<TensorStore, "tensors">, where: string): JsonObject {
  const isTold = store.tensors.has("adaln_single.emb.resolution_embedder.linear_1.weight");
  const json = jsonObject(config, where);
  return { ...json, use_additional_conditions: json.use_additional_conditions ?? isTold };
}

/** Both names stand for one tensor, and files have either or both. */
function underSharedName(store: TensorStore, where: string): TensorStore {
  const other = "encoder.embed_tokens.weight";
  if (store.tensors.has("shared.weight") || !store.tensors.has(other)) return store;
  const names = [...store.tensors.keys()].map(
    (from) => [from === other ? "shared.weight" : from, { from }] as const,
  );
  return { ...store, ...deriveStore(store, new Map(names), where) };
}

export function ditDenoiser(c: DitConfig, store: TensorStore, json: unknown): Denoiser {
  const features = (values: readonly number[]) => timestepEmbedding(values, DIT_FEATURES, DIT_SINUSOID);
  return {
    ...{
      name: "transformer",
      title: "transformer",
      store,
      json,
      besideChannels: 0,
      patch: c.patch,
      isToldGuidance: false,
    },
    graph: (size) => (c.outChannels === c.inChannels ? buildDit : buildDitNoise)(c, size).outputs,
    timeFeatures: (timestep, batch) =>
      float32([batch, DIT_FEATURES], features(new Array<number>(batch).fill(timestep))),
    steady({ height, width }, batch) {
      if (!c.hasSizes) return {};
      const each = <T>(values: readonly T[]): T[] => Array.from({ length: batch }, () => values).flat();
      return {
        resolution: float32([batch, 2, DIT_FEATURES], features(each([height, width]))),
        aspect_ratio: float32([batch, DIT_FEATURES], features(each([height / width]))),
      };
    },
    headsOf: (block) => {
      const [kind, index] = block.split(".");
      return kind === "transformer_blocks" && Number(index) < c.layers ? c.heads : 0;
    },
  };
}

export function t5Encoder(name: string, c: T5Config, store: TensorStore, tokenizer: Tokenizer): TextEncoder {
  const tokens = tokenizer.maxLength;
  const maskOf: TextEncoder["mask"] = (encoded) =>
    float32(
      [encoded.length, tokens],
      encoded.flatMap(({ length }) => Array.from({ length: tokens }, (_, i) => (i < length ? 0 : MASKED))),
    );
  // diffusers' `_text_preprocessing` without `clean_caption`
  const prepare = (prompt: string): string => prompt.toLowerCase().trim();
  return {
    ...{ name, config: c, store, tokenizer, prepare },
    ...{ mostChunks: 1, mostSkipped: null },
    weigh: (prompt) => [{ text: prepare(prompt), weight: 1 }],
    graph: (batch) => buildT5(c, { batch, tokens }).outputs,
    pieces: (batch) => buildT5Pieces(c, { batch, tokens }).map(({ outputs }) => outputs),
    feeds: (encoded) => ({
      ids: int64(
        [encoded.length, tokens],
        encoded.flatMap((e) => e.ids),
      ),
      mask: maskOf(encoded) as NonNullable<ReturnType<typeof maskOf>>,
    }),
    mask: maskOf,
  };
}
