/**
 * Transformer blocks over the cells of a feature map, conditioned on text.
 * Source: Rombach et al. 2022, arXiv:2112.10752, section 3.3; names of diffusers' `Transformer2DModel`.
 */

import { labelled, type Value } from "../graph/op.ts";
import { add, reshape, tap, transpose } from "../ops/index.ts";
import { attention } from "./attention.ts";
import { conv } from "./conv.ts";
import { feedForward } from "./feedforward.ts";
import { linear } from "./linear.ts";
import { groupNorm, layerNorm } from "./norm.ts";
import type { Scope } from "./scope.ts";

/** The default of diffusers' `BasicTransformerBlock(norm_eps)`; no U-Net config changes it. */
const LAYER_NORM_EPS = 1e-5;
/** Written into diffusers' `Transformer2DModel._init_continuous_input`, unlike the U-Net's own `norm_eps`. */
const GROUP_NORM_EPS = 1e-6;

export interface TransformerOptions {
  readonly heads: number;
  /** Transformer blocks. */
  readonly depth: number;
  readonly groups: number;
  /** Whether `proj_in` and `proj_out` are linear layers; else convolutions of kernel 1. */
  readonly linearProjection: boolean;
}

/** Self-attention, cross-attention to `text`, feed-forward, each after a norm: `x` [N, S, E], `text` [N, T, F] → [N, S, E]. */
export function transformerBlock(s: Scope, x: Value, text: Value, heads: number): Value {
  return labelled(s.path, () => {
    const cells = layerNorm(s.at("norm1"), x, LAYER_NORM_EPS);
    let h = add(attention(s.at("attn1"), cells, cells, { heads }), x);
    h = add(attention(s.at("attn2"), layerNorm(s.at("norm2"), h, LAYER_NORM_EPS), text, { heads }), h);
    h = add(feedForward(s.at("ff"), layerNorm(s.at("norm3"), h, LAYER_NORM_EPS)), h);
    return tap(s.path, h);
  });
}

/** `depth` blocks between two projections, with a residual around all: `x` [N, C, H, W], `text` [N, T, F] → [N, C, H, W]. */
export function transformer2d(s: Scope, x: Value, text: Value, o: TransformerOptions): Value {
  return labelled(s.path, () => {
    const [n, c, height, width] = x.shape as [number, number, number, number];
    const toCells = (v: Value) => reshape(transpose(v, [0, 2, 3, 1]), [n, height * width, c]); // [N, H·W, C]
    const toMap = (v: Value) => transpose(reshape(v, [n, height, width, c]), [0, 3, 1, 2]); // [N, C, H, W]

    const normal = groupNorm(s.at("norm"), x, { groups: o.groups, eps: GROUP_NORM_EPS });
    let h = o.linearProjection
      ? linear(s.at("proj_in"), toCells(normal), c)
      : toCells(conv(s.at("proj_in"), normal, c, { kernel: 1 }));
    for (let i = 0; i < o.depth; i++) h = transformerBlock(s.at("transformer_blocks", i), h, text, o.heads);
    const out = o.linearProjection
      ? toMap(linear(s.at("proj_out"), h, c))
      : conv(s.at("proj_out"), toMap(h), c, { kernel: 1 });
    return tap(s.path, add(out, x));
  });
}
