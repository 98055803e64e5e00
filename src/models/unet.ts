/**
 * The conditional U-Net of Stable Diffusion: noisy latent, noise level and text in, prediction out.
 *
 * Source: Rombach et al. 2022, arXiv:2112.10752, section 3; Podell et al. 2023, arXiv:2307.01952 (SDXL's added conditioning).
 * Parameter names are those of diffusers' `UNet2DConditionModel`: such a checkpoint loads with no key map.
 */

import { labelled, type TensorType, type Value } from "../graph/op.ts";
import {
  conv,
  downsample,
  featureEmbedding,
  groupNorm,
  resnet,
  type Scope,
  transformer2d,
  upsample,
} from "../nn/index.ts";
import { add, concat, silu, tap } from "../ops/index.ts";
import { type Built, build } from "./built.ts";
import { type Level, SIZE_NUMBERS, type UNetConfig } from "./unet-config.ts";

export interface UNetInputs {
  /** Noisy latents [N, L, h, w]. */
  readonly sample: Value;
  /** Features of the timestep [N, C]: `timestepEmbedding` with the config's `sinusoid`, C channels of the first level. */
  readonly t_emb: Value;
  /** States of the text encoders [N, S, E]. */
  readonly text: Value;
  /** SDXL: projected pooled text [N, P]. */
  readonly pooled?: Value;
  /** SDXL: features of the six size numbers [N, 6·F], each like a timestep's. */
  readonly time_ids?: Value;
  /** LCM: `guidanceEmbedding` of the guidance scale less one [N, G]. */
  readonly timestep_cond?: Value;
}

export interface UNetSize {
  readonly batch: number;
  /** In latent cells. */
  readonly height: number;
  readonly width: number;
  /** Text tokens. */
  readonly tokens: number;
}

/** What `unet` is fed for pictures of that size: exactly these names. */
export function unetInputs(
  c: UNetConfig,
  { batch, height, width, tokens }: UNetSize,
): Record<keyof UNetInputs, TensorType> {
  const float = (...shape: number[]): TensorType => ({ dtype: "float32", shape: [batch, ...shape] });
  const types: Partial<Record<keyof UNetInputs, TensorType>> = {
    sample: float(c.inChannels, height, width),
    t_emb: float(c.down[0]!.channels),
    text: float(tokens, c.textChannels),
  };
  if (c.added !== null) types.pooled = float(c.added.pooledChannels);
  if (c.added !== null) types.time_ids = float(SIZE_NUMBERS * c.added.sizeChannels);
  if (c.guidanceChannels !== null) types.timestep_cond = float(c.guidanceChannels);
  return types as Record<keyof UNetInputs, TensorType>;
}

/** The prediction [N, L', h, w] for `inputs.sample` [N, L, h, w]. */
export function unet(s: Scope, inputs: UNetInputs, c: UNetConfig): Value {
  const { text } = inputs;
  const emb = embedConditions(s, inputs, c); // [N, T]
  const layer = (block: Scope, j: number, x: Value, level: Level): Value => {
    const h = resnet(block.at("resnets", j), x, emb, level.channels, c);
    const depth = level.depths[j] ?? 0;
    if (depth === 0) return h;
    const { heads } = level;
    const { groups, linearProjection } = c;
    return transformer2d(block.at("attentions", j), h, text, { heads, depth, groups, linearProjection });
  };

  let h = conv(s.at("conv_in"), inputs.sample, c.down[0]!.channels, { kernel: c.convInKernel }); // [N, C, h, w]
  const skips = [h];

  for (const [i, level] of c.down.entries()) {
    const block = s.at("down_blocks", i);
    for (const j of level.depths.keys()) {
      h = layer(block, j, h, level);
      skips.push(h);
    }
    if (i < c.down.length - 1) {
      h = downsample(block.at("downsamplers", 0), h, c.downsamplePadding); // [N, ·, h/2, w/2]
      skips.push(h);
    }
    h = tap(block.path, h);
  }

  if (c.mid !== null) {
    const block = s.at("mid_block");
    h = layer(block, 0, h, c.mid);
    if (c.mid.depths.length > 0) h = resnet(block.at("resnets", 1), h, emb, c.mid.channels, c);
    h = tap(block.path, h);
  }

  for (const [i, level] of c.up.entries()) {
    const block = s.at("up_blocks", i);
    for (const j of level.depths.keys()) {
      const joined = labelled(block.path, () => concat([h, skips.pop()!], 1));
      h = layer(block, j, joined, level);
    }
    if (i < c.up.length - 1) {
      // To the size of the next skip: twice as large, or one less where an odd size was halved.
      const [, , height, width] = skips.at(-1)!.shape as [number, number, number, number];
      h = upsample(block.at("upsamplers", 0), h, height, width);
    }
    h = tap(block.path, h);
  }
  const last = s.at("conv_norm_out");
  const out = labelled(last.path, () => silu(groupNorm(last, h, c)));
  return conv(s.at("conv_out"), out, c.outChannels, { kernel: c.convOutKernel }); // [N, L', h, w]
}

/** Noise level, and what SDXL and LCM add to it, as the one vector [N, T] that every ResNet reads, through its SiLU. */
function embedConditions(s: Scope, inputs: UNetInputs, c: UNetConfig): Value {
  const guidance = c.guidanceChannels === null ? null : inputs.timestep_cond!;
  const time = featureEmbedding(s.at("time_embedding"), inputs.t_emb, c.embChannels, guidance);
  if (c.added === null) return silu(time);
  const added = s.at("add_embedding");
  return labelled(added.path, () => {
    const features = concat([inputs.pooled!, inputs.time_ids!], 1); // [N, P + 6·F]
    return silu(add(time, featureEmbedding(added, features, c.embChannels)));
  });
}

/** The whole U-Net as a graph; its output is `prediction`. */
export const buildUNet = (c: UNetConfig, size: UNetSize): Built<"prediction"> =>
  build(unetInputs(c, size), (s, inputs) => ({ prediction: unet(s, inputs, c) }));
