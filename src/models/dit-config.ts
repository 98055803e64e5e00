/**
 * The shape of a diffusion transformer as data, and its reading from diffusers' `transformer/config.json`.
 * Source of the fields' meaning: diffusers 0.42, `PixArtTransformer2DModel.__init__`; the older `Transformer2DModel` has the same.
 */

import { ConfigReader, type Json } from "./config.ts";

/**
 * Tensors that published files have and no layer reads: positions, which are computed and yet saved by some versions, and
 * the training code's embedding of the empty prompt (PixArt-α's files).
 */
export const leftInDitFiles: readonly RegExp[] = [
  /^pos_embed\.pos_embed$/,
  /^caption_projection\.y_embedding$/,
];

export interface DitConfig {
  readonly inChannels: number;
  /** Twice `inChannels` where the network also says its own uncertainty (learned sigma). */
  readonly outChannels: number;
  /** Side of a patch in latent cells: one token a patch. */
  readonly patch: number;
  readonly channels: number;
  readonly heads: number;
  readonly layers: number;
  /** Width of the text states before `caption_projection`. */
  readonly textChannels: number;
  readonly attentionBias: boolean;
  readonly eps: number;
  /** Height and width, in latent cells, that it was trained at. */
  readonly sampleSize: number;
  /** What positions are divided by, so that a larger grid spans the same angles. */
  readonly interpolation: number;
  /** Whether it is told the picture's height, width and aspect ratio. */
  readonly hasSizes: boolean;
}

/** How timesteps and sizes become features: diffusers' `Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)`. */
export const DIT_SINUSOID = { flipSinToCos: true, freqShift: 0 } as const;
export const DIT_FEATURES = 256;
/** Parts of the size embedding: height, width, aspect ratio, each a third of the width. */
export const SIZE_PARTS = 3;

/** The resolution at which α models of diffusers before 0.28, which wrote no such field, are told sizes. */
const SIZED_SAMPLE = 128;
/** Cells a side at interpolation 1: 512 px (diffusers' `sample_size // 64`). */
const PLAIN_SAMPLE = 64;

/** Fields of networks that are not built here: the values they may have. */
const SUPPORTED: Readonly<Record<string, readonly Json[]>> = {
  activation_fn: ["gelu-approximate"],
  attention_type: ["default"],
  double_self_attention: [false],
  norm_elementwise_affine: [false],
  norm_type: ["ada_norm_single"],
  num_vector_embeds: [null],
  only_cross_attention: [false],
  use_linear_projection: [false],
};

/** Read only by blocks that are refused anyway, or a cast to float32, which this is. */
const WITHOUT_EFFECT = ["dropout", "norm_num_groups", "num_embeds_ada_norm", "upcast_attention"];

/**
 * Reads and checks `transformer/config.json`.
 * @throws KoalaError E_CONFIG naming the field that is missing, malformed or not supported
 */
export function ditConfig(json: unknown, where = "transformer/config.json"): DitConfig {
  const r = new ConfigReader(json, where);
  r.only(SUPPORTED);
  r.ignore(...WITHOUT_EFFECT);
  const heads = r.count("num_attention_heads", 16);
  const channels = heads * r.count("attention_head_dim", 72);
  if (channels % 4 !== 0)
    throw r.wrong("attention_head_dim", "a width of all heads that divides by 4, for 2D positions");
  const inChannels = r.count("in_channels", 4);
  const sampleSize = r.count("sample_size", SIZED_SAMPLE);
  const patch = r.count("patch_size", 2);
  if (sampleSize % patch !== 0) throw r.wrong("sample_size", `a multiple of patch_size, ${patch}`);
  if (r.count("cross_attention_dim", channels) !== channels)
    throw r.wrong("cross_attention_dim", `the width of the projected text, ${channels}`);
  const hasSizes = r.boolean("use_additional_conditions", sampleSize === SIZED_SAMPLE);
  if (hasSizes && channels % SIZE_PARTS !== 0)
    throw r.wrong("use_additional_conditions", `a width that divides by ${SIZE_PARTS}, not ${channels}`);
  const config: DitConfig = {
    inChannels,
    outChannels: r.count("out_channels", inChannels),
    ...{ patch, channels, heads, sampleSize, hasSizes },
    layers: r.count("num_layers", 28),
    textChannels: r.count("caption_channels"),
    attentionBias: r.boolean("attention_bias", true),
    eps: r.number("norm_eps", 1e-6),
    interpolation: r.number("interpolation_scale", Math.max(Math.floor(sampleSize / PLAIN_SAMPLE), 1)),
  };
  r.finish();
  return config;
}
