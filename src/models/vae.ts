/**
 * The variational autoencoder between pictures and latents.
 *
 * Source: Rombach et al. 2022, arXiv:2112.10752, section 3.1.
 * Parameter names are those of diffusers' `AutoencoderKL`.
 */

import { labelled, type TensorType, type Value } from "../graph/op.ts";
import {
  conv,
  downsample,
  groupNorm,
  type ResnetOptions,
  resnet,
  type Scope,
  spatialAttention,
  upsample,
} from "../nn/index.ts";
import { silu, tap } from "../ops/index.ts";
import { type Built, build } from "./built.ts";
import { ConfigReader } from "./config.ts";

export interface VaeConfig {
  /** Channels of a picture, 3. */
  readonly pictureChannels: number;
  readonly latentChannels: number;
  /** Finest first; each later level halves height and width. */
  readonly channels: readonly number[];
  /** ResNets a level of the encoder; the decoder has one more. */
  readonly layers: number;
  readonly groups: number;
  /** Whether the middle attends over the cells. */
  readonly hasMidAttention: boolean;
  readonly hasQuantConv: boolean;
  readonly hasPostQuantConv: boolean;
  /** Latents of the diffusion = (latents of the encoder − shift) · scale. */
  readonly scalingFactor: number;
  readonly shiftFactor: number;
  /** Height and width, in pixels, that it was trained at; null where the config does not say. */
  readonly sampleSize: number | null;
}

export interface VaeSize {
  readonly batch: number;
  /** Of the input: pixels for the encoder, latent cells for the decoder. */
  readonly height: number;
  readonly width: number;
}

/** Written into diffusers' `Encoder` and `Decoder`; no config changes it. */
export const EPS = 1e-6;

/**
 * Reads and checks `vae/config.json` of an AutoencoderKL.
 * @throws KoalaError E_CONFIG naming the field that is missing, malformed or not supported
 */
export function vaeConfig(json: unknown, where = "vae/config.json"): VaeConfig {
  const r = new ConfigReader(json, where);
  r.choice("_class_name", ["AutoencoderKL"]);
  r.only({ act_fn: ["silu", "swish"], latents_mean: [null], latents_std: [null] });
  const down = r.choices("down_block_types", ["DownEncoderBlock2D"], ["DownEncoderBlock2D"]);
  const up = r.choices("up_block_types", ["UpDecoderBlock2D"], ["UpDecoderBlock2D"]);
  if (up.length !== down.length)
    throw r.wrong("up_block_types", `as many blocks as down_block_types, ${down.length}`);
  const channels = r.counts("block_out_channels", { length: down.length, fallback: [64] });
  const groups = r.count("norm_num_groups", 32);
  if (channels.some((c) => c % groups !== 0)) {
    throw r.wrong("block_out_channels", `multiples of norm_num_groups, ${groups}`);
  }
  const pictureChannels = r.count("in_channels", 3);
  if (r.count("out_channels", 3) !== pictureChannels)
    throw r.wrong("out_channels", `in_channels, ${pictureChannels}`);
  const size = r.raw("sample_size");
  const config: VaeConfig = {
    pictureChannels,
    latentChannels: r.count("latent_channels", 4),
    channels,
    layers: r.count("layers_per_block", 1),
    groups,
    hasMidAttention: r.boolean("mid_block_add_attention", true),
    hasQuantConv: r.boolean("use_quant_conv", true),
    hasPostQuantConv: r.boolean("use_post_quant_conv", true),
    scalingFactor: r.number("scaling_factor", 0.18215), // the default of diffusers, that of SD 1 and 2
    shiftFactor: r.number("shift_factor", 0),
    sampleSize: typeof size === "number" ? size : null,
  };
  r.ignore("force_upcast"); // a cast to float32, which this is
  r.finish();
  return config;
}

/** Height and width of a picture in units of its latent's. */
export const vaeFactor = (c: VaeConfig): number => 2 ** (c.channels.length - 1);

/** ResNet, attention where there is one, ResNet: the coarsest features `x` [N, C, h, w] → the same shape. */
function middle(s: Scope, x: Value, c: VaeConfig, o: ResnetOptions): Value {
  let h = resnet(s.at("resnets", 0), x, null, x.shape[1]!, o);
  if (c.hasMidAttention) h = spatialAttention(s.at("attentions", 0), h, o);
  h = resnet(s.at("resnets", 1), h, null, x.shape[1]!, o);
  return tap(s.path, h);
}

/** `picture` [N, 3, H, W] in −1..1 → mean and log-variance of its latents, [N, 2·L, H/f, W/f], the mean first. */
export function vaeEncoder(root: Scope, picture: Value, c: VaeConfig): Value {
  const s = root.at("encoder");
  const o: ResnetOptions = { groups: c.groups, eps: EPS };
  let h = conv(s.at("conv_in"), picture, c.channels[0]!);
  for (const [i, channels] of c.channels.entries()) {
    const block = s.at("down_blocks", i);
    for (let j = 0; j < c.layers; j++) h = resnet(block.at("resnets", j), h, null, channels, o);
    if (i < c.channels.length - 1) h = downsample(block.at("downsamplers", 0), h, 0); // [N, ·, H/2, W/2]
    h = tap(block.path, h);
  }
  return encoderEnd(root, h, c);
}

/** What comes after the last down block: its features `x` [N, C, h, w] → moments [N, 2·L, h, w]. */
export function encoderEnd(root: Scope, x: Value, c: VaeConfig): Value {
  const s = root.at("encoder");
  const o: ResnetOptions = { groups: c.groups, eps: EPS };
  const h = middle(s.at("mid_block"), x, c, o);
  const out = labelled(s.path, () => silu(groupNorm(s.at("conv_norm_out"), h, o)));
  const moments = conv(s.at("conv_out"), out, 2 * c.latentChannels);
  return c.hasQuantConv ? conv(root.at("quant_conv"), moments, 2 * c.latentChannels, { kernel: 1 }) : moments;
}

/** What comes before the first upsampling block: `latents` [N, L, h, w] → [N, C, h, w]. */
export function decoderMiddle(root: Scope, latents: Value, c: VaeConfig): Value {
  const s = root.at("decoder");
  const z = c.hasPostQuantConv
    ? conv(root.at("post_quant_conv"), latents, c.latentChannels, { kernel: 1 })
    : latents;
  return middle(s.at("mid_block"), conv(s.at("conv_in"), z, c.channels.at(-1)!), c, {
    groups: c.groups,
    eps: EPS,
  });
}

/** `latents` [N, L, h, w] in the encoder's own scale → pictures [N, 3, f·h, f·w], about −1..1. */
export function vaeDecoder(root: Scope, latents: Value, c: VaeConfig): Value {
  const s = root.at("decoder");
  const o: ResnetOptions = { groups: c.groups, eps: EPS };
  const coarsestFirst = c.channels.toReversed();
  let h = decoderMiddle(root, latents, c);
  for (const [i, channels] of coarsestFirst.entries()) {
    const block = s.at("up_blocks", i);
    for (let j = 0; j < c.layers + 1; j++) h = resnet(block.at("resnets", j), h, null, channels, o);
    if (i < c.channels.length - 1) {
      h = upsample(block.at("upsamplers", 0), h, 2 * h.shape[2]!, 2 * h.shape[3]!); // [N, ·, 2·h, 2·w]
    }
    h = tap(block.path, h);
  }
  const out = labelled(s.path, () => silu(groupNorm(s.at("conv_norm_out"), h, o)));
  return conv(s.at("conv_out"), out, c.pictureChannels);
}

const float = (channels: number, { batch, height, width }: VaeSize): TensorType => ({
  dtype: "float32",
  shape: [batch, channels, height, width],
});

/** Input `picture`, output `moments`. */
export const buildVaeEncoder = (c: VaeConfig, size: VaeSize): Built<"moments"> =>
  build({ picture: float(c.pictureChannels, size) }, (s, { picture }) => ({
    moments: vaeEncoder(s, picture, c),
  }));

/** Input `latents`, output `picture`. */
export const buildVaeDecoder = (c: VaeConfig, size: VaeSize): Built<"picture"> =>
  build({ latents: float(c.latentChannels, size) }, (s, { latents }) => ({
    picture: vaeDecoder(s, latents, c),
  }));
