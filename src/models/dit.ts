/**
 * The diffusion transformer of PixArt-α and PixArt-Σ: noisy latent, noise level and text in, prediction out.
 *
 * Source: Peebles and Xie 2022, arXiv:2212.09748 (DiT); Chen et al. 2023, arXiv:2310.00426, section 2.3 (adaLN-single);
 * Chen et al. 2024, arXiv:2403.04692 (Σ). Parameter names are those of diffusers' `PixArtTransformer2DModel`.
 */

import { labelled, type TensorType, type Value } from "../graph/op.ts";
import {
  attention,
  bareLayerNorm,
  conv,
  featureEmbedding,
  linear,
  normal,
  plainFeedForward,
  type Scope,
} from "../nn/index.ts";
import {
  add,
  broadcastTo,
  concat,
  constant,
  gelu,
  mul,
  reshape,
  silu,
  slice,
  split,
  tap,
  transpose,
} from "../ops/index.ts";
import { type Built, build } from "./built.ts";
import { DIT_FEATURES, type DitConfig, SIZE_PARTS } from "./dit-config.ts";

export interface DitInputs {
  /** Noisy latents [N, L, h, w]. */
  readonly sample: Value;
  /** Features of the timestep [N, 256]: `timestepEmbedding` with `DIT_SINUSOID`. */
  readonly t_emb: Value;
  /** States of the text encoder [N, T, F]. */
  readonly text: Value;
  /** 0 for a token of the text, `MASKED` for padding [N, T]. */
  readonly mask: Value;
  /** Features of the picture's height and width in pixels [N, 2, 256]; only where the config `hasSizes`. */
  readonly resolution?: Value;
  /** Features of height / width [N, 256]; only where the config `hasSizes`. */
  readonly aspect_ratio?: Value;
}

export interface DitSize {
  readonly batch: number;
  /** In latent cells; multiples of the patch. */
  readonly height: number;
  readonly width: number;
  /** Text tokens. */
  readonly tokens: number;
}

/** What diffusers adds to the scores of padding: exp(−10000) is 0 in float32, and the number itself fits in float16. */
export const MASKED = -1e4;

/** Shift, scale and gate of the self-attention, then of the feed-forward layer. */
const MODULATIONS = 6;
/** Written into diffusers' `PixArtTransformer2DModel.__init__`, unlike the blocks' `norm_eps`. */
const LAST_EPS = 1e-6;
/** Vaswani et al. 2017, arXiv:1706.03762, section 3.5. */
const MAX_PERIOD = 10_000;

/** What `dit` is fed for pictures of that size: exactly these names. */
export function ditInputs(
  c: DitConfig,
  { batch, height, width, tokens }: DitSize,
): Record<keyof DitInputs, TensorType> {
  const float = (...shape: number[]): TensorType => ({ dtype: "float32", shape: [batch, ...shape] });
  const types: Partial<Record<keyof DitInputs, TensorType>> = {
    sample: float(c.inChannels, height, width),
    t_emb: float(DIT_FEATURES),
    text: float(tokens, c.textChannels),
    mask: float(tokens),
  };
  if (c.hasSizes) types.resolution = float(2, DIT_FEATURES);
  if (c.hasSizes) types.aspect_ratio = float(DIT_FEATURES);
  return types as Record<keyof DitInputs, TensorType>;
}

/** The prediction [N, L', h, w] for `inputs.sample` [N, L, h, w]; the first L channels are the noise. */
export function dit(s: Scope, inputs: DitInputs, c: DitConfig): Value {
  const [n, , height, width] = inputs.sample.shape as [number, number, number, number];
  const [rows, columns] = [height / c.patch, width / c.patch];
  const tokens = inputs.text.shape[1]!;
  const { time, modulation } = embedConditions(s.at("adaln_single"), inputs, c);
  const text = projectText(s.at("caption_projection"), inputs.text, c.channels); // [N, T, E]
  const mask = broadcastTo(reshape(inputs.mask, [n, 1, 1, tokens]), [n, 1, rows * columns, tokens]);

  const patches = conv(s.at("pos_embed", "proj"), inputs.sample, c.channels, {
    ...{ kernel: c.patch, stride: c.patch, pad: 0 },
  });
  const cells = transpose(reshape(patches, [n, c.channels, rows * columns]), [0, 2, 1]); // [N, S, E]
  let h = labelled("pos_embed", () => add(cells, positions(c, rows, columns)));
  for (let i = 0; i < c.layers; i++) {
    h = block(s.at("transformer_blocks", i), h, { text, mask, modulation }, c);
  }
  // The last table is added to the embedded time itself, not to its projection.
  const [shift, scale] = tableOf(s, 2, reshape(time, [n, 1, c.channels])) as [Value, Value];
  const out = linear(
    s.at("proj_out"),
    modulated(bareLayerNorm(h, LAST_EPS), shift, scale),
    c.patch ** 2 * c.outChannels,
  );
  const apart = reshape(out, [n, rows, columns, c.patch, c.patch, c.outChannels]);
  return reshape(transpose(apart, [0, 5, 1, 3, 2, 4]), [n, c.outChannels, height, width]);
}

interface Conditions {
  readonly text: Value;
  /** Added to the scores of the text [N, 1, S, T]. */
  readonly mask: Value;
  /** [N, 6, E] */
  readonly modulation: Value;
}

/** Self-attention, cross-attention and feed-forward; the text enters without norm or gate: `x` [N, S, E] → [N, S, E]. */
function block(s: Scope, x: Value, { text, mask, modulation }: Conditions, c: DitConfig): Value {
  return labelled(s.path, () => {
    const [shift, scale, gate, shiftFf, scaleFf, gateFf] = tableOf(s, MODULATIONS, modulation) as [
      ...[Value, Value, Value, Value, Value, Value],
    ];
    const o = { heads: c.heads, bias: c.attentionBias };
    const first = modulated(bareLayerNorm(x, c.eps), shift, scale);
    let h = add(mul(gate, attention(s.at("attn1"), first, first, o)), x);
    h = add(attention(s.at("attn2"), h, text, { ...o, mask }), h);
    const second = modulated(bareLayerNorm(h, c.eps), shiftFf, scaleFf);
    return tap(s.path, add(mul(gateFf, plainFeedForward(s.at("ff"), second)), h));
  });
}

const modulated = (x: Value, shift: Value, scale: Value): Value => add(mul(x, add(scale, 1)), shift);

/** A learned table [`count`, E] plus `added` [N, count or 1, E], row by row: each [N, 1, E]. */
function tableOf(s: Scope, count: number, added: Value): Value[] {
  const width = added.shape.at(-1)!;
  const table = s.param("scale_shift_table", [count, width], normal(width ** -0.5));
  return split(add(reshape(table, [1, count, width]), added), count, 1);
}

/** Noise level, and sizes where they are told: as one vector [N, E], and as what every block adds to its table [N, 6, E]. */
function embedConditions(s: Scope, inputs: DitInputs, c: DitConfig): { time: Value; modulation: Value } {
  return labelled(s.path, () => {
    const n = inputs.t_emb.shape[0]!;
    let time = featureEmbedding(s.at("emb", "timestep_embedder"), inputs.t_emb, c.channels);
    if (c.hasSizes) {
      const third = c.channels / SIZE_PARTS;
      const sides = reshape(inputs.resolution!, [2 * n, DIT_FEATURES]);
      const resolution = featureEmbedding(s.at("emb", "resolution_embedder"), sides, third); // [2·N, E/3]
      const ratio = featureEmbedding(s.at("emb", "aspect_ratio_embedder"), inputs.aspect_ratio!, third);
      time = add(time, concat([reshape(resolution, [n, 2 * third]), ratio], 1));
    }
    const modulation = linear(s.at("linear"), silu(time), MODULATIONS * c.channels);
    return { time, modulation: reshape(modulation, [n, MODULATIONS, c.channels]) };
  });
}

function projectText(s: Scope, text: Value, width: number): Value {
  return labelled(s.path, () => {
    const first = gelu(linear(s.at("linear_1"), text, width), { approximate: "tanh" });
    return linear(s.at("linear_2"), first, width);
  });
}

/** [1, S, E]: sines and cosines of a token's column in the first half of the channels, of its row in the second. */
function positions(c: DitConfig, rows: number, columns: number): Value {
  const half = c.channels / 2;
  const across = broadcastTo(constant([1, 1, columns, half], axis(c, columns)), [1, rows, columns, half]);
  const down = broadcastTo(constant([1, rows, 1, half], axis(c, rows)), [1, rows, columns, half]);
  return reshape(concat([across, down], 3), [1, rows * columns, c.channels]);
}

/**
 * [`length`, E/2]: what the places along one side are, stretched to the span of the grid that was trained on.
 * Rounded to float32 where diffusers' `get_2d_sincos_pos_embed` rounds; its sines are of float64.
 */
function axis(c: DitConfig, length: number): number[] {
  const { fround } = Math;
  const base = c.sampleSize / c.patch;
  const frequencies = c.channels / 4;
  const ratio = fround(length / base);
  return Array.from({ length }, (_, i) => {
    const place = fround(fround(i / ratio) / c.interpolation);
    const angles = Array.from({ length: frequencies }, (_v, k) => place / MAX_PERIOD ** (k / frequencies));
    return [...angles.map(Math.sin), ...angles.map(Math.cos)];
  }).flat();
}

/** The whole transformer as a graph; its output is `prediction`. */
export const buildDit = (c: DitConfig, size: DitSize): Built<"prediction"> =>
  build(ditInputs(c, size), (s, inputs) => ({ prediction: dit(s, inputs, c) }));

/** The same without the half that says how uncertain it is of the noise (learned sigma): [N, L, h, w]. */
export const buildDitNoise = (c: DitConfig, size: DitSize): Built<"prediction"> =>
  build(ditInputs(c, size), (s, inputs) => ({
    prediction: slice(dit(s, inputs, c), { axis: 1, start: 0, end: c.inChannels }),
  }));
