/** PixArt's published models as data, and every preset under one name: what `koala init` and `koala inspect` take. */

import { check } from "../core/assert.ts";
import { nearest } from "../core/nearest.ts";
import type { JsonObject } from "./config.ts";
import { ALPHA_DIT, PIXART_DPM, SD_VAE, SDXL_VAE, SIGMA_DIT, T5_XXL } from "./preset-parts.ts";
import { type Preset, presetFiles, presetNames, presets, RAIL_PLUS } from "./presets.ts";

/** A model whose denoiser is a transformer, told by T5. */
export interface PixartPreset {
  /** What it transcribes. */
  readonly source: string;
  /** From memory of the cards, as it says itself. */
  readonly licence: string | null;
  readonly hub: string | null;
  readonly pipeline: "PixArtAlphaPipeline" | "PixArtSigmaPipeline";
  readonly transformer: JsonObject;
  readonly textEncoder: JsonObject;
  readonly vae: JsonObject;
  readonly scheduler: JsonObject;
}

export type PixartPresetName = "pixart-alpha" | "pixart-sigma" | "pixart-sigma-512" | "pixart-tiny";

function pixart(
  hub: string,
  pipeline: PixartPreset["pipeline"],
  transformer: JsonObject,
  vae: JsonObject,
): PixartPreset {
  return {
    source: `https://huggingface.co/${hub}`,
    licence: `${RAIL_PLUS} (unverified)`,
    hub,
    pipeline,
    transformer,
    textEncoder: T5_XXL,
    vae,
    scheduler: PIXART_DPM,
  };
}

const sigma = (hub: string, transformer: JsonObject = {}): PixartPreset =>
  pixart(hub, "PixArtSigmaPipeline", { ...SIGMA_DIT, ...transformer }, SDXL_VAE);

/** 512 px has interpolation 1 at 64 cells: the table of diffusers' convert_pixart_to_diffusers.py. */
export const pixartPresets: Readonly<Record<PixartPresetName, PixartPreset>> = {
  "pixart-alpha": pixart("PixArt-alpha/PixArt-XL-2-1024-MS", "PixArtAlphaPipeline", ALPHA_DIT, SD_VAE),
  "pixart-sigma": sigma("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS"),
  "pixart-sigma-512": sigma("PixArt-alpha/PixArt-Sigma-XL-2-512-MS", {
    interpolation_scale: 1,
    sample_size: 64,
  }),
  /** Sigma's shape at a thousandth of its size: for tests, and to try things on. */
  "pixart-tiny": {
    ...sigma("", {
      ...{ attention_head_dim: 16, num_attention_heads: 4, cross_attention_dim: 64, caption_channels: 32 },
      ...{ interpolation_scale: 1, num_layers: 4, sample_size: 8 },
    }),
    source: "https://arxiv.org/abs/2403.04692",
    licence: null,
    hub: null,
    textEncoder: { ...T5_XXL, d_ff: 80, d_kv: 16, d_model: 32, num_heads: 2, num_layers: 2 },
    vae: presets.tiny.vae,
  },
};

export const pixartPresetNames: readonly PixartPresetName[] = Object.keys(
  pixartPresets,
) as PixartPresetName[];

/** The JSON files of a PixArt folder, by path; weights and the vocabulary are not among them. */
export function pixartFiles(p: PixartPreset): Readonly<Record<string, JsonObject>> {
  return {
    "scheduler/scheduler_config.json": p.scheduler,
    "transformer/config.json": p.transformer,
    "vae/config.json": p.vae,
    "text_encoder/config.json": p.textEncoder,
    "tokenizer/tokenizer_config.json": {
      tokenizer_class: "T5Tokenizer",
      ...{ eos_token: "</s>", pad_token: "<pad>", unk_token: "<unk>", model_max_length: 512 },
    },
    "model_index.json": {
      _class_name: p.pipeline,
      _diffusers_version: "0.42.0", // whose fields these are
      ...(p.hub === null ? {} : { _name_or_path: p.hub }),
      scheduler: ["diffusers", p.scheduler._class_name!],
      text_encoder: ["transformers", "T5EncoderModel"],
      tokenizer: ["transformers", "T5Tokenizer"],
      transformer: ["diffusers", p.transformer._class_name!],
      vae: ["diffusers", p.vae._class_name!],
    },
  };
}

export type AnyPreset = Preset | PixartPreset;

export const anyPresetNames: readonly string[] = [...presetNames, ...pixartPresetNames];

/**
 * The preset of that name, of either kind.
 * @throws KoalaError E_MODEL with the nearest names when there is none
 */
export function anyPreset(name: string): AnyPreset {
  const found = Object.entries<AnyPreset>({ ...presets, ...pixartPresets }).find(([known]) => known === name);
  const [near] = nearest(name, anyPresetNames);
  check(found !== undefined, "E_MODEL", () => ({
    where: "preset",
    expected: `one of ${anyPresetNames.join(", ")}`,
    got: name,
    ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
  }));
  return found[1];
}

export const anyPresetFiles = (p: AnyPreset): Readonly<Record<string, JsonObject>> =>
  "transformer" in p ? pixartFiles(p) : presetFiles(p);
