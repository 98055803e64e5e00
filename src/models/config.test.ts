/** What the readers of configs take, and every sentence with which they refuse. */

import { describe, expect, it } from "vitest";
import { clipTextConfig, eosRows } from "./clip-text.ts";
import type { JsonObject } from "./config.ts";
import { presets } from "./presets.ts";
import { unetConfig } from "./unet-config.ts";
import { vaeConfig } from "./vae.ts";
import { vaeTinyConfig } from "./vae-tiny.ts";

const unet = (changes: JsonObject) => () => unetConfig({ ...presets.sdxl.unet, ...changes });
const vae = (changes: JsonObject) => () => vaeConfig({ ...presets.sdxl.vae, ...changes });
const tinyVae = (changes: JsonObject) => () => vaeTinyConfig({ _class_name: "AutoencoderTiny", ...changes });
const clip = (changes: JsonObject) => () => clipTextConfig({ ...presets.sdxl.textEncoders[0], ...changes });

const U = "unet/config.json";
const levels = "transformer_layers_per_block";
const reversed = "reverse_transformer_layers_per_block";

describe("a config that is not supported is refused by the name of its field", () => {
  const cases: readonly [() => unknown, string][] = [
    [() => unetConfig(undefined), `${U}: expected a JSON object, got nothing [E_CONFIG]`],
    [() => unetConfig([1]), `${U}: expected a JSON object, got [1] [E_CONFIG]`],
    [
      unet({ _class_name: "UNet3DConditionModel" }),
      `${U} (_class_name): expected UNet2DConditionModel, got "UNet3DConditionModel" [E_CONFIG]`,
    ],
    [unet({ act_fn: "gelu" }), `${U} (act_fn): expected "silu" or "swish", got "gelu" [E_CONFIG]`],
    [
      unet({ class_embed_type: "timestep" }),
      `${U} (class_embed_type): expected null, got "timestep" [E_CONFIG]`,
    ],
    [
      unet({ resnet_time_scale_shift: "scale_shift" }),
      `${U} (resnet_time_scale_shift): expected "default", got "scale_shift" [E_CONFIG]`,
    ],
    [
      unet({ down_block_types: ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"] }),
      `${U} (down_block_types): expected a list of CrossAttnDownBlock2D and DownBlock2D, got ["DownBlock2D","AttnDownBlock2D","DownBlock2D"] [E_CONFIG]`,
    ],
    [
      unet({ down_block_types: "DownBlock2D" }),
      `${U} (down_block_types): expected a list of CrossAttnDownBlock2D and DownBlock2D, got "DownBlock2D" [E_CONFIG]`,
    ],
    [
      unet({ up_block_types: ["UpBlock2D"] }),
      `${U} (up_block_types): expected as many blocks as down_block_types, 3, got ["UpBlock2D"] [E_CONFIG]`,
    ],
    [
      unet({ block_out_channels: [320, 640] }),
      `${U} (block_out_channels): expected 3 whole numbers of at least 1, got [320,640] [E_CONFIG]`,
    ],
    [
      unet({ block_out_channels: [320, 650, 1280] }),
      `${U} (block_out_channels): expected multiples of norm_num_groups, 32, got [320,650,1280] [E_CONFIG]`,
    ],
    [
      unet({ attention_head_dim: [5, 7, 20] }),
      `${U} (attention_head_dim): expected a divisor of the 640 channels of level 1, got [5,7,20] [E_CONFIG]`,
    ],
    [
      unet({ [levels]: [1, 2] }),
      `${U} (${levels}): expected one entry for each of 3 levels, got [1,2] [E_CONFIG]`,
    ],
    [
      unet({ [levels]: [1, 0, 10] }),
      `${U} (${levels}): expected at least 1 transformer block in each of the 2 layers of a level, got [1,0,10] [E_CONFIG]`,
    ],
    [
      unet({ [levels]: [1, [2, 2], 10] }),
      `${U} (${reversed}): expected the blocks of the up path, since ${levels} holds lists, got nothing [E_CONFIG]`,
    ],
    [
      unet({ mid_block_type: "UNetMidBlock2DSimpleCrossAttn" }),
      `${U} (mid_block_type): expected UNetMidBlock2DCrossAttn or UNetMidBlock2D, got "UNetMidBlock2DSimpleCrossAttn" [E_CONFIG]`,
    ],
    [
      unet({ cross_attention_dim: [2048, 2048, 1024] }),
      `${U} (cross_attention_dim): expected the same width for every level, got [2048,2048,1024] [E_CONFIG]`,
    ],
    [
      unet({ addition_embed_type: "image" }),
      `${U} (addition_embed_type): expected text_time, got "image" [E_CONFIG]`,
    ],
    [
      unet({ projection_class_embeddings_input_dim: 1536 }),
      `${U} (projection_class_embeddings_input_dim): expected more than 6 × addition_time_embed_dim, 1536, got 1536 [E_CONFIG]`,
    ],
    [unet({ conv_in_kernel: 4 }), `${U} (conv_in_kernel): expected an odd number, got 4 [E_CONFIG]`],
    [unet({ downsample_padding: 2 }), `${U} (downsample_padding): expected 0 or 1, got 2 [E_CONFIG]`],
    [
      unet({ norm_num_groups: 0 }),
      `${U} (norm_num_groups): expected a whole number of at least 1, got 0 [E_CONFIG]`,
    ],
    [unet({ norm_eps: "small" }), `${U} (norm_eps): expected a number, got "small" [E_CONFIG]`],
    [
      unet({ use_linear_projection: 1 }),
      `${U} (use_linear_projection): expected true or false, got 1 [E_CONFIG]`,
    ],
    [
      unet({ pag_scale: 3 }),
      `${U} (pag_scale): expected only fields that this model knows, got 3 [E_CONFIG]\nIf it does not change what the network computes, remove it from the file.`,
    ],
    [
      vae({ latents_mean: [0, 0, 0, 0] }),
      "vae/config.json (latents_mean): expected null, got [0,0,0,0] [E_CONFIG]",
    ],
    [
      vae({ up_block_types: ["UpDecoderBlock2D"] }),
      'vae/config.json (up_block_types): expected as many blocks as down_block_types, 4, got ["UpDecoderBlock2D"] [E_CONFIG]',
    ],
    [vae({ out_channels: 1 }), "vae/config.json (out_channels): expected in_channels, 3, got 1 [E_CONFIG]"],
    [
      vae({ norm_num_groups: 48 }),
      "vae/config.json (block_out_channels): expected multiples of norm_num_groups, 48, got [128,256,512,512] [E_CONFIG]",
    ],
    [tinyVae({ act_fn: "silu" }), 'vae/config.json (act_fn): expected "relu", got "silu" [E_CONFIG]'],
    [
      tinyVae({ out_channels: 4 }),
      "vae/config.json (out_channels): expected in_channels, 3, got 4 [E_CONFIG]",
    ],
    [
      tinyVae({ num_decoder_blocks: "3" }),
      'vae/config.json (num_decoder_blocks): expected a list of whole numbers of at least 1, got "3" [E_CONFIG]',
    ],
    [
      tinyVae({ decoder_block_out_channels: [64, 64, 64, 32] }),
      "vae/config.json (decoder_block_out_channels): expected the same width for every level, got [64,64,64,32] [E_CONFIG]",
    ],
    [
      clip({ architectures: ["CLIPModel"] }),
      'text_encoder/config.json (architectures): expected a list of CLIPTextModel and CLIPTextModelWithProjection, got ["CLIPModel"] [E_CONFIG]',
    ],
    [
      clip({ num_attention_heads: 11 }),
      "text_encoder/config.json (num_attention_heads): expected a divisor of hidden_size, 768, got 11 [E_CONFIG]",
    ],
  ];
  it.each(cases)("case %#", (read, sentence) => {
    let message = "nothing was thrown";
    try {
      read();
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toBe(sentence);
  });
});

describe("unetConfig", () => {
  it("gives null for a missing middle, the default for an absent field", () => {
    expect(unetConfig({ ...presets.sdxl.unet, mid_block_type: null }).mid).toBeNull();
    expect(unetConfig(presets.sd15.unet).mid).toEqual({ channels: 1280, heads: 8, depths: [1] });
    expect(unetConfig(presets["ssd-1b"].unet).mid).toEqual({ channels: 1280, heads: 20, depths: [] });
  });

  it("reads nested depths, and those of the way up in their own order", () => {
    const { down, up } = unetConfig(presets["ssd-1b"].unet);
    expect(down.map(({ depths }) => depths)).toEqual([
      [0, 0],
      [2, 2],
      [4, 4],
    ]);
    expect(up.map(({ depths }) => depths)).toEqual([
      [4, 4, 10],
      [2, 1, 1],
      [0, 0, 0],
    ]);
  });

  it("lets num_attention_heads override the misnamed attention_head_dim", () => {
    const { down } = unetConfig({ ...presets.sdxl.unet, num_attention_heads: 10 });
    expect(down.map(({ heads }) => heads)).toEqual([10, 10, 10]);
  });

  it("ignores what training scripts leave in the file", () => {
    const left = {
      decay: 0.9999,
      optimization_step: 1000,
      use_ema_warmup: true,
      dropout: 0.1,
      _name_or_path: "x",
    };
    expect(unetConfig({ ...presets.sdxl.unet, ...left })).toEqual(unetConfig(presets.sdxl.unet));
  });
});

describe("eosRows", () => {
  it("takes the first highest token where the config says 2, as old checkpoints do", () => {
    expect(eosRows([9, 3, 5, 9, 9, 0, 1, 2, 7, 7], 5, 2)).toEqual([0, 8]);
  });

  it("takes the first end token otherwise, or the first token of a row without one", () => {
    expect(eosRows([9, 3, 5, 5, 0, 1], 3, 5)).toEqual([2, 3]);
    expect(eosRows([9, 3, 4, 5, 0, 1], 3, 4)).toEqual([2, 3]);
  });
});
