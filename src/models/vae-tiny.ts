/**
 * The tiny autoencoder: latents of the same kind as the large one's, at a twentieth of its cost.
 *
 * Source: TAESD, https://github.com/madebyollin/taesd.
 * Parameter names are those of diffusers' `AutoencoderTiny`: positions in one list of layers.
 */

import { labelled, type TensorType, type Value } from "../graph/op.ts";
import { conv, type Scope } from "../nn/index.ts";
import { add, mul, relu, resizeNearest, sub, tanh } from "../ops/index.ts";
import { type Built, build } from "./built.ts";
import { ConfigReader } from "./config.ts";
import type { VaeSize } from "./vae.ts";

export interface VaeTinyConfig {
  readonly pictureChannels: number;
  readonly latentChannels: number;
  /** Width of every layer of the encoder and of the decoder. */
  readonly encoderChannels: number;
  readonly decoderChannels: number;
  /** Blocks a level: finest first in the encoder, coarsest first in the decoder. */
  readonly encoderBlocks: readonly number[];
  readonly decoderBlocks: readonly number[];
  /** Latents of the diffusion = (latents of the encoder − shift) · scale. */
  readonly scalingFactor: number;
  readonly shiftFactor: number;
  /** For a stored preview: latents / (2 · magnitude) + shift lies in 0..1. */
  readonly latentMagnitude: number;
  readonly latentShift: number;
}

/** Latents are squashed to ±3 before decoding: diffusers' `DecoderTiny.forward`. */
const LATENT_LIMIT = 3;

/**
 * Reads and checks `vae/config.json` of an AutoencoderTiny.
 * @throws KoalaError E_CONFIG naming the field that is missing, malformed or not supported
 */
export function vaeTinyConfig(json: unknown, where = "vae/config.json"): VaeTinyConfig {
  const r = new ConfigReader(json, where);
  r.choice("_class_name", ["AutoencoderTiny"]);
  r.only({ act_fn: ["relu"], upsample_fn: ["nearest"], upsampling_scaling_factor: [2] });
  const half = (side: "encoder" | "decoder", fallback: readonly number[]) => {
    const blocks = r.counts(`num_${side}_blocks`, { fallback });
    const field = `${side}_block_out_channels`;
    const [first, ...rest] = r.counts(field, { length: blocks.length, fallback: 64 });
    // diffusers builds a block after a convolution that keeps the width, so another width would not run there either.
    if (rest.some((c) => c !== first)) throw r.wrong(field, "the same width for every level");
    return { blocks, channels: first! };
  };
  const encoder = half("encoder", [1, 3, 3, 3]);
  const decoder = half("decoder", [3, 3, 3, 1]);
  const pictureChannels = r.count("in_channels", 3);
  if (r.count("out_channels", 3) !== pictureChannels)
    throw r.wrong("out_channels", `in_channels, ${pictureChannels}`);
  const config: VaeTinyConfig = {
    pictureChannels,
    latentChannels: r.count("latent_channels", 4),
    encoderChannels: encoder.channels,
    decoderChannels: decoder.channels,
    encoderBlocks: encoder.blocks,
    decoderBlocks: decoder.blocks,
    scalingFactor: r.number("scaling_factor", 1),
    shiftFactor: r.number("shift_factor", 0),
    latentMagnitude: r.number("latent_magnitude", 3),
    latentShift: r.number("latent_shift", 0.5),
  };
  r.ignore("force_upcast", "block_out_channels"); // the second repeats that of the decoder
  r.finish();
  return config;
}

/** Height and width of a picture in units of its latent's. */
export const vaeTinyFactor = (c: VaeTinyConfig): number => 2 ** (c.decoderBlocks.length - 1);

/** Three convolutions around a residual: `x` [N, C, H, W] → the same shape. */
function block(s: Scope, x: Value): Value {
  return labelled(s.path, () => {
    const channels = x.shape[1]!;
    const first = relu(conv(s.at("conv", 0), x, channels));
    const second = relu(conv(s.at("conv", 2), first, channels));
    return relu(add(conv(s.at("conv", 4), second, channels), x));
  });
}

/** `picture` [N, 3, H, W] in −1..1 → latents [N, L, H/f, W/f]. */
export function vaeTinyEncoder(root: Scope, picture: Value, c: VaeTinyConfig): Value {
  const s = root.at("encoder", "layers");
  let n = 0;
  let h = labelled(s.path, () => mul(add(picture, 1), 0.5)); // 0..1
  for (const [i, blocks] of c.encoderBlocks.entries()) {
    const stride = i === 0 ? { stride: 1, bias: true } : { stride: 2, bias: false };
    h = conv(s.at(n++), h, c.encoderChannels, { ...stride, pad: 1 }); // [N, C, ·/2, ·/2] but at the first level
    for (let j = 0; j < blocks; j++) h = block(s.at(n++), h);
  }
  return conv(s.at(n), h, c.latentChannels);
}

/** `latents` [N, L, h, w] → pictures [N, 3, f·h, f·w], about −1..1. */
export function vaeTinyDecoder(root: Scope, latents: Value, c: VaeTinyConfig): Value {
  const s = root.at("decoder", "layers");
  const squashed = labelled(s.path, () => mul(tanh(mul(latents, 1 / LATENT_LIMIT)), LATENT_LIMIT));
  let n = 0;
  let h = conv(s.at(n++), squashed, c.decoderChannels);
  h = labelled(s.at(n++).path, () => relu(h));
  for (const [i, blocks] of c.decoderBlocks.entries()) {
    for (let j = 0; j < blocks; j++) h = block(s.at(n++), h);
    const isLast = i === c.decoderBlocks.length - 1;
    if (!isLast) {
      h = labelled(s.at(n++).path, () => resizeNearest(h, 2 * h.shape[2]!, 2 * h.shape[3]!)); // [N, C, 2·h, 2·w]
    }
    h = conv(s.at(n++), h, isLast ? c.pictureChannels : c.decoderChannels, { bias: isLast });
  }
  return labelled(s.path, () => sub(mul(h, 2), 1)); // from 0..1
}

const float = (channels: number, { batch, height, width }: VaeSize): TensorType => ({
  dtype: "float32",
  shape: [batch, channels, height, width],
});

/** Input `picture`, output `latents`. */
export const buildVaeTinyEncoder = (c: VaeTinyConfig, size: VaeSize): Built<"latents"> =>
  build({ picture: float(c.pictureChannels, size) }, (s, { picture }) => ({
    latents: vaeTinyEncoder(s, picture, c),
  }));

/** Input `latents`, output `picture`. */
export const buildVaeTinyDecoder = (c: VaeTinyConfig, size: VaeSize): Built<"picture"> =>
  build({ latents: float(c.latentChannels, size) }, (s, { latents }) => ({
    picture: vaeTinyDecoder(s, latents, c),
  }));
