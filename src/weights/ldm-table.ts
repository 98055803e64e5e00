/**
 * What the single files of A1111 and ComfyUI users (the layout of CompVis/latent-diffusion and
 * Stability-AI/generative-models) call each tensor, and what diffusers calls it. First match wins.
 * Source of the pairs: diffusers 0.42, `loaders/single_file_utils.py`; proved against its converters in ldm.test.ts.
 *
 * Numbers: `in` and `out` index `input_blocks` and `output_blocks`, whose level and layer follow from where the
 * down- and upsamplers are; `mid` indexes `middle_block`; `up` counts the VAE's decoder levels finest first.
 */

import type { NameRow } from "./names.ts";

/** What follows a residual block's place. */
const resnet: readonly NameRow[] = [
  [".in_layers.0.{rest}", ".norm1.{rest}"],
  [".in_layers.2.{rest}", ".conv1.{rest}"],
  [".emb_layers.1.{rest}", ".time_emb_proj.{rest}"],
  [".out_layers.0.{rest}", ".norm2.{rest}"],
  [".out_layers.3.{rest}", ".conv2.{rest}"],
  [".skip_connection.{rest}", ".conv_shortcut.{rest}"],
];

/** The rows of a module, at its place. */
const at = (theirs: string, diffusers: string, rows: readonly NameRow[]): NameRow[] =>
  rows.map(([a, b, change]) =>
    change === undefined ? [theirs + a, diffusers + b] : [theirs + a, diffusers + b, change],
  );

export const unetRows: readonly NameRow[] = [
  ["time_embed.0.{rest}", "time_embedding.linear_1.{rest}"],
  ["time_embed.2.{rest}", "time_embedding.linear_2.{rest}"],
  ["label_emb.0.0.{rest}", "add_embedding.linear_1.{rest}"],
  ["label_emb.0.2.{rest}", "add_embedding.linear_2.{rest}"],
  ["input_blocks.0.0.{rest}", "conv_in.{rest}"],
  ["out.0.{rest}", "conv_norm_out.{rest}"],
  ["out.2.{rest}", "conv_out.{rest}"],

  ["input_blocks.{in}.0.op.{rest}", "down_blocks.{in.level}.downsamplers.0.conv.{rest}"],
  ...at("input_blocks.{in}.0", "down_blocks.{in.level}.resnets.{in.layer}", resnet),
  ["input_blocks.{in}.1.{rest}", "down_blocks.{in.level}.attentions.{in.layer}.{rest}"],

  ...at("middle_block.{mid}", "mid_block.resnets.{mid.half}", resnet),
  ["middle_block.{mid}.{rest}", "mid_block.attentions.{mid.half}.{rest}"],

  ["output_blocks.{out}.1.conv.{rest}", "up_blocks.{out.level}.upsamplers.0.conv.{rest}"],
  ["output_blocks.{out}.2.conv.{rest}", "up_blocks.{out.level}.upsamplers.0.conv.{rest}"],
  ...at("output_blocks.{out}.0", "up_blocks.{out.level}.resnets.{out.layer}", resnet),
  ["output_blocks.{out}.1.{rest}", "up_blocks.{out.level}.attentions.{out.layer}.{rest}"],
];

/** The attention in the middle of the VAE: 1×1 convolutions that diffusers holds as matrices. */
const vaeAttention: readonly NameRow[] = [
  [".norm.{rest}", ".group_norm.{rest}"],
  [".q.{rest}", ".to_q.{rest}", "matrix"],
  [".k.{rest}", ".to_k.{rest}", "matrix"],
  [".v.{rest}", ".to_v.{rest}", "matrix"],
  [".proj_out.{rest}", ".to_out.0.{rest}", "matrix"],
];

const vaeResnet: readonly NameRow[] = [
  [".nin_shortcut.{rest}", ".conv_shortcut.{rest}"],
  [".{rest}", ".{rest}"],
];

const vaeHalf = (half: "encoder" | "decoder"): NameRow[] => [
  [`${half}.norm_out.{rest}`, `${half}.conv_norm_out.{rest}`],
  [`${half}.conv_in.{rest}`, `${half}.conv_in.{rest}`],
  [`${half}.conv_out.{rest}`, `${half}.conv_out.{rest}`],
  ...at(`${half}.mid.block_{block}`, `${half}.mid_block.resnets.{block.before}`, vaeResnet),
  ...at(`${half}.mid.attn_1`, `${half}.mid_block.attentions.0`, vaeAttention),
];

export const vaeRows: readonly NameRow[] = [
  ...vaeHalf("encoder"),
  ["encoder.down.{level}.downsample.conv.{rest}", "encoder.down_blocks.{level}.downsamplers.0.conv.{rest}"],
  ...at("encoder.down.{level}.block.{layer}", "encoder.down_blocks.{level}.resnets.{layer}", vaeResnet),
  ...vaeHalf("decoder"),
  ["decoder.up.{up}.upsample.conv.{rest}", "decoder.up_blocks.{up.reversed}.upsamplers.0.conv.{rest}"],
  ...at("decoder.up.{up}.block.{layer}", "decoder.up_blocks.{up.reversed}.resnets.{layer}", vaeResnet),
  ["quant_conv.{rest}", "quant_conv.{rest}"],
  ["post_quant_conv.{rest}", "post_quant_conv.{rest}"],
];

/** OpenAI's CLIP text tower, as transformers saves it; some early files lack the `text_model`. */
export const clipRows: readonly NameRow[] = [
  ["text_model.{rest}", "text_model.{rest}"],
  ["embeddings.{rest}", "text_model.embeddings.{rest}"],
  ["encoder.{rest}", "text_model.encoder.{rest}"],
  ["final_layer_norm.{rest}", "text_model.final_layer_norm.{rest}"],
];

const openClipLayer: readonly NameRow[] = [
  [".ln_1.{rest}", ".layer_norm1.{rest}"],
  [".ln_2.{rest}", ".layer_norm2.{rest}"],
  [".attn.in_proj_weight", ".self_attn.{qkv}_proj.weight", "thirds"],
  [".attn.in_proj_bias", ".self_attn.{qkv}_proj.bias", "thirds"],
  [".attn.out_proj.{rest}", ".self_attn.out_proj.{rest}"],
  [".mlp.c_fc.{rest}", ".mlp.fc1.{rest}"],
  [".mlp.c_proj.{rest}", ".mlp.fc2.{rest}"],
];

/** OpenCLIP's text tower: q, k and v fused, and a projection that multiplies from the other side. */
export const openClipRows: readonly NameRow[] = [
  ["positional_embedding", "text_model.embeddings.position_embedding.weight"],
  ["token_embedding.weight", "text_model.embeddings.token_embedding.weight"],
  ["ln_final.{rest}", "text_model.final_layer_norm.{rest}"],
  ["text_projection", "text_projection.weight", "transposed"],
  ...at("transformer.resblocks.{layer}", "text_model.encoder.layers.{layer}", openClipLayer),
];

export type LdmPart = "unet" | "vae" | "text_encoder" | "text_encoder_2";

/** A model inside a single file. */
export interface LdmComponent {
  readonly part: LdmPart;
  /** Where it may sit; "" is a file of its own. */
  readonly prefixes: readonly string[];
  /** A tensor that tells that it is there. */
  readonly signature: string;
  readonly rows: readonly NameRow[];
  /** Tensors that are there but that no diffusers model has. */
  readonly unused: readonly RegExp[];
}

/**
 * Stable Diffusion 2 was trained on the output of the last layer but one, so diffusers' text encoder ends there, with 23
 * of ViT-H's 24 layers and no projection (`SD_2_TEXT_ENCODER_KEYS_TO_IGNORE`).
 */
const unusedBySd2 = [/^transformer\.resblocks\.23\./, /^text_projection$/];
const openClipUnused = [/^logit_scale$/, /^attn_mask$/];
const clipUnused = [/position_ids$/];

export const ldmComponents: readonly LdmComponent[] = [
  {
    part: "unet",
    prefixes: ["model.diffusion_model.", ""],
    signature: "input_blocks.0.0.weight",
    rows: unetRows,
    unused: [],
  },
  {
    part: "vae",
    prefixes: ["first_stage_model.", "vae."],
    signature: "decoder.conv_in.weight",
    rows: vaeRows,
    unused: [/^loss\./, /^model_ema\./],
  },
  {
    part: "text_encoder",
    prefixes: ["cond_stage_model.transformer.", "conditioner.embedders.0.transformer."],
    signature: "text_model.embeddings.token_embedding.weight",
    rows: clipRows,
    unused: clipUnused,
  },
  {
    part: "text_encoder",
    prefixes: ["cond_stage_model.transformer."],
    signature: "embeddings.token_embedding.weight",
    rows: clipRows,
    unused: clipUnused,
  },
  {
    part: "text_encoder",
    prefixes: ["cond_stage_model.model.", "conditioner.embedders.0.model."],
    signature: "token_embedding.weight",
    rows: openClipRows,
    unused: [...openClipUnused, ...unusedBySd2],
  },
  {
    part: "text_encoder_2",
    prefixes: ["conditioner.embedders.1.model."],
    signature: "token_embedding.weight",
    rows: openClipRows,
    unused: openClipUnused,
  },
];

/** Left over from training, or a flag: no part of a model. */
export const ldmIgnored: readonly RegExp[] = [
  /^model_ema\./,
  /^(betas|alphas_cumprod|alphas_cumprod_prev|logvar|lvlb_weights|global_step)$/,
  /^(sqrt|log)_(one_minus_|recip_|recipm1_)?alphas_cumprod$/,
  /^posterior_(variance|log_variance_clipped|mean_coef1|mean_coef2)$/,
  /^denoiser\.sigmas$/,
  /^cond_stage_model\.logit_scale$/,
  /^(v_pred|ztsnr)$/,
];
