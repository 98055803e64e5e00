/**
 * The shape of a U-Net as data, and its reading from diffusers' `unet/config.json`.
 * Source of the fields' meaning: diffusers 0.42, `UNet2DConditionModel.__init__`.
 */

import { ConfigReader, type Json } from "./config.ts";

export interface Level {
  readonly channels: number;
  readonly heads: number;
  /** One entry a ResNet: the transformer blocks after it, 0 for no transformer at all. */
  readonly depths: readonly number[];
}

/** A distilled U-Net is another value of this type, not another file. */
export interface UNetConfig {
  readonly inChannels: number;
  readonly outChannels: number;
  /** Finest first; each later level halves height and width. */
  readonly down: readonly Level[];
  /** `depths` [d]: two ResNets around one transformer of d blocks; [] is one ResNet alone; null is nothing. */
  readonly mid: Level | null;
  /** Coarsest first; one ResNet more a level than `down`, for the skips. */
  readonly up: readonly Level[];
  /** Width of the text that the cross-attention reads. */
  readonly textChannels: number;
  readonly groups: number;
  readonly eps: number;
  readonly linearProjection: boolean;
  /** 1 pads all sides of a downsampling convolution, 0 right and bottom only. */
  readonly downsamplePadding: 0 | 1;
  readonly convInKernel: number;
  readonly convOutKernel: number;
  /** Width of the time embedding inside the network. */
  readonly embChannels: number;
  /** How timesteps and sizes become features outside the graph. */
  readonly sinusoid: { readonly flipSinToCos: boolean; readonly freqShift: number };
  /** SDXL's added conditioning: widths of the pooled text and of the features of one size number; else null. */
  readonly added: { readonly pooledChannels: number; readonly sizeChannels: number } | null;
  /** Width of the features of the guidance scale that LCM distils in; else null. */
  readonly guidanceChannels: number | null;
  /** Height and width, in latent cells, that it was trained at; null where the config does not say. */
  readonly sampleSize: number | null;
}

/** The numbers that SDXL is told of a picture: original height and width, crop top and left, target height and width. */
export const SIZE_NUMBERS = 6;

const DOWN = ["CrossAttnDownBlock2D", "DownBlock2D"] as const;
const UP = ["CrossAttnUpBlock2D", "UpBlock2D"] as const;

/** Left by training scripts (`EMAModel.save_pretrained`, dropout) or read only by blocks that are refused anyway. */
const WITHOUT_EFFECT = [
  "sample_size",
  "dropout",
  "upcast_attention", // a cast to float32, which this is
  "addition_embed_type_num_heads", // of `addition_embed_type: text`
  "decay",
  "inv_gamma",
  "min_decay",
  "optimization_step",
  "power",
  "update_after_step",
  "use_ema_warmup",
];

/** Fields of networks that are not built here: the values they may have. */
const SUPPORTED: Readonly<Record<string, readonly Json[]>> = {
  act_fn: ["silu", "swish"],
  attention_type: ["default"],
  center_input_sample: [false],
  class_embed_type: [null],
  class_embeddings_concat: [false],
  cross_attention_norm: [null],
  dual_cross_attention: [false],
  encoder_hid_dim: [null],
  encoder_hid_dim_type: [null],
  mid_block_only_cross_attention: [null, false],
  mid_block_scale_factor: [1],
  num_class_embeds: [null],
  only_cross_attention: [false],
  resnet_out_scale_factor: [1],
  resnet_skip_time_act: [false],
  resnet_time_scale_shift: ["default"],
  time_embedding_act_fn: [null],
  time_embedding_type: ["positional"],
  timestep_post_act: [null],
};

const none = (n: number): number[] => Array<number>(n).fill(0);

/** The transformer blocks of each of `layers` layers, of an entry that is one number for all or a list. */
function perLayer(r: ConfigReader, field: string, entry: Json | undefined, layers: number): number[] {
  const list = typeof entry === "number" ? Array<number>(layers).fill(entry) : entry;
  const fits =
    Array.isArray(list) && list.length >= layers && list.every((n) => Number.isInteger(n) && n >= 1);
  if (!fits) throw r.wrong(field, `at least 1 transformer block in each of the ${layers} layers of a level`);
  return list.slice(0, layers);
}

/** The entries of a depth list, one a level. */
function perLevel(r: ConfigReader, field: string, value: Json, levels: number): readonly Json[] {
  const list = typeof value === "number" ? Array<Json>(levels).fill(value) : value;
  if (!Array.isArray(list) || list.length !== levels)
    throw r.wrong(field, `one entry for each of ${levels} levels`);
  return list;
}

/** What the levels are made of: block types, channels, heads, depths. */
function readLevels(r: ConfigReader, groups: number): Pick<UNetConfig, "down" | "mid" | "up"> {
  const downTypes = r.choices("down_block_types", DOWN, [DOWN[0], DOWN[0], DOWN[0], DOWN[1]]);
  const upTypes = r.choices("up_block_types", UP, [UP[1], UP[0], UP[0], UP[0]]);
  const length = downTypes.length;
  if (upTypes.length !== length)
    throw r.wrong("up_block_types", `as many blocks as down_block_types, ${length}`);

  const channels = r.counts("block_out_channels", { length, fallback: [320, 640, 1280, 1280] });
  const layers = r.counts("layers_per_block", { length, fallback: 2 });
  // `attention_head_dim` is the number of heads: a misnomer that checkpoints have kept (diffusers issue 2011).
  const headsField =
    r.raw("num_attention_heads") === undefined ? "attention_head_dim" : "num_attention_heads";
  const heads = r.counts(headsField, { length, fallback: 8 });
  r.ignore("attention_head_dim");
  for (const [i, c] of channels.entries()) {
    if (c % groups !== 0) throw r.wrong("block_out_channels", `multiples of norm_num_groups, ${groups}`);
    if (c % heads[i]! !== 0) throw r.wrong(headsField, `a divisor of the ${c} channels of level ${i}`);
  }

  const [field, reverseField] = ["transformer_layers_per_block", "reverse_transformer_layers_per_block"];
  const blocks = perLevel(r, field, r.raw(field) ?? 1, length);
  const reversed = r.raw(reverseField);
  if (reversed === undefined && blocks.some(Array.isArray)) {
    throw r.wrong(reverseField, `the blocks of the up path, since ${field} holds lists`);
  }
  const upBlocks =
    reversed === undefined ? [...blocks].reverse() : perLevel(r, reverseField, reversed, length);

  const level = (i: number, depths: readonly number[]): Level => ({
    channels: channels[i]!,
    heads: heads[i]!,
    depths,
  });
  const down = downTypes.map((type, i) =>
    level(i, type === DOWN[1] ? none(layers[i]!) : perLayer(r, field, blocks[i], layers[i]!)),
  );
  const up = upTypes.map((type, j) => {
    const i = length - 1 - j;
    const n = layers[i]! + 1;
    const from = reversed === undefined ? field : reverseField;
    return level(i, type === UP[1] ? none(n) : perLayer(r, from, upBlocks[j], n));
  });
  if (r.isNull("mid_block_type")) return { down, mid: null, up };
  const midType = r.choice("mid_block_type", ["UNetMidBlock2DCrossAttn", "UNetMidBlock2D"]);
  const last = length - 1;
  const mid = level(last, midType === "UNetMidBlock2D" ? [] : perLayer(r, field, blocks[last], 1));
  return { down, mid, up };
}

function readAdded(r: ConfigReader): UNetConfig["added"] {
  r.ignore("addition_time_embed_dim", "projection_class_embeddings_input_dim");
  if (r.raw("addition_embed_type") === undefined) return null;
  r.choice("addition_embed_type", ["text_time"]);
  const sizeChannels = r.count("addition_time_embed_dim");
  const pooledChannels = r.count("projection_class_embeddings_input_dim") - SIZE_NUMBERS * sizeChannels;
  if (pooledChannels < 1) {
    const least = `more than ${SIZE_NUMBERS} × addition_time_embed_dim, ${SIZE_NUMBERS * sizeChannels}`;
    throw r.wrong("projection_class_embeddings_input_dim", least);
  }
  return { pooledChannels, sizeChannels };
}

/** One width, or the same for every level: there is one text. */
function readText(r: ConfigReader, length: number): number {
  const [first, ...rest] = r.counts("cross_attention_dim", { length, fallback: 1280 });
  if (rest.some((width) => width !== first))
    throw r.wrong("cross_attention_dim", "the same width for every level");
  return first!;
}

function readKernel(r: ConfigReader, field: string): number {
  const size = r.count(field, 3);
  if (size % 2 === 0) throw r.wrong(field, "an odd number");
  return size;
}

/**
 * Reads and checks `unet/config.json`.
 * @throws KoalaError E_CONFIG naming the field that is missing, malformed or not supported
 */
export function unetConfig(json: unknown, where = "unet/config.json"): UNetConfig {
  const r = new ConfigReader(json, where);
  r.choice("_class_name", ["UNet2DConditionModel"]);
  r.only(SUPPORTED);
  const groups = r.count("norm_num_groups", 32);
  const levels = readLevels(r, groups);
  const padding = r.number("downsample_padding", 1);
  if (padding !== 0 && padding !== 1) throw r.wrong("downsample_padding", "0 or 1");
  const size = r.raw("sample_size");
  const config: UNetConfig = {
    inChannels: r.count("in_channels", 4),
    outChannels: r.count("out_channels", 4),
    ...levels,
    textChannels: readText(r, levels.down.length),
    groups,
    eps: r.number("norm_eps", 1e-5),
    linearProjection: r.boolean("use_linear_projection", false),
    downsamplePadding: padding,
    convInKernel: readKernel(r, "conv_in_kernel"),
    convOutKernel: readKernel(r, "conv_out_kernel"),
    embChannels: r.count("time_embedding_dim", 4 * levels.down[0]!.channels),
    sinusoid: { flipSinToCos: r.boolean("flip_sin_to_cos", true), freqShift: r.number("freq_shift", 0) },
    added: readAdded(r),
    guidanceChannels: r.raw("time_cond_proj_dim") === undefined ? null : r.count("time_cond_proj_dim"),
    sampleSize: typeof size === "number" ? size : null,
  };
  r.ignore(...WITHOUT_EFFECT);
  r.finish();
  return config;
}
