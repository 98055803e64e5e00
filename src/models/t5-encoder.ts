/**
 * The encoder of T5 v1.1: tokens in, states of every token out. It can be built whole or in pieces that run one after another,
 * since the XXL size (4.7 G parameters) is larger than most machines' memory.
 *
 * Source: Raffel et al. 2019, arXiv:1910.10683, section 2.1; v1.1's gated GELU: Shazeer 2020, arXiv:2002.05202.
 * Parameter names are those of transformers' `T5EncoderModel`.
 */

import { labelled, type TensorType, type Value } from "../graph/op.ts";
import { embedding, linear, normal, rmsNorm, type Scope } from "../nn/index.ts";
import { add, attention, constant, gather, gelu, mul, reshape, tap, transpose } from "../ops/index.ts";
import { type Built, build } from "./built.ts";
import type { TextSize } from "./clip-text.ts";
import { ConfigReader } from "./config.ts";

export interface T5Config {
  readonly vocabulary: number;
  /** Width of the states. */
  readonly channels: number;
  readonly heads: number;
  readonly headChannels: number;
  readonly innerChannels: number;
  readonly layers: number;
  readonly eps: number;
  /** Classes of distance between two tokens, both directions together. */
  readonly buckets: number;
  /** Tokens from which on all distances are one class. */
  readonly maxDistance: number;
}

export interface T5Inputs {
  /** Tokens, int64 [N, S]. */
  readonly ids: Value;
  /** 0 for a token of the text, a number that no score reaches below 0 for padding [N, S]. */
  readonly mask: Value;
}

/** Deviation of transformers' initialization of the embedding. */
const EMBEDDING_STD = 1;

/**
 * Reads and checks `text_encoder/config.json`; the fields of the decoder and of generating text are not read.
 * @throws KoalaError E_CONFIG naming the field that is missing, malformed or not supported
 */
export function t5Config(json: unknown, where = "text_encoder/config.json"): T5Config {
  const r = new ConfigReader(json, where);
  r.choices("architectures", ["T5EncoderModel"]);
  r.only({ model_type: ["t5"], feed_forward_proj: ["gated-gelu"], dense_act_fn: ["gelu_new"] });
  // the default of transformers is T5 1.0's `relu`, so here the field has to be there
  if (r.raw("feed_forward_proj") === undefined) throw r.wrong("feed_forward_proj", '"gated-gelu"');
  const buckets = r.count("relative_attention_num_buckets", 32);
  if (buckets % 4 !== 0) throw r.wrong("relative_attention_num_buckets", "a multiple of 4");
  return {
    vocabulary: r.count("vocab_size", 32128),
    channels: r.count("d_model", 512),
    heads: r.count("num_heads", 8),
    headChannels: r.count("d_kv", 64),
    innerChannels: r.count("d_ff", 2048),
    layers: r.count("num_layers", 6),
    eps: r.number("layer_norm_epsilon", 1e-6),
    buckets,
    maxDistance: r.count("relative_attention_max_distance", 128),
  };
}

/** What the whole encoder is fed for texts of that size: exactly these names. */
export const t5Inputs = ({ batch, tokens }: TextSize): Record<keyof T5Inputs, TensorType> => ({
  ids: { dtype: "int64", shape: [batch, tokens] },
  mask: { dtype: "float32", shape: [batch, tokens] },
});

/** `inputs.ids` [N, S] → the states after the last layer and norm [N, S, E]. */
export function t5Encoder(s: Scope, inputs: T5Inputs, c: T5Config): Value {
  const bias = scoreBias(s, inputs.mask, c);
  let h = embed(s, inputs.ids, c);
  for (let i = 0; i < c.layers; i++) h = block(s.at("encoder", "block", i), h, bias, c);
  return rmsNorm(s.at("encoder", "final_layer_norm"), h, c.eps);
}

const embed = (s: Scope, ids: Value, c: T5Config): Value =>
  embedding(s.at("shared"), ids, { entries: c.vocabulary, width: c.channels, std: EMBEDDING_STD });

/** What is added to every layer's scores [N, K, S, S]: the learned bias of the distance, and the mask of the keys. */
function scoreBias(s: Scope, mask: Value, c: T5Config): Value {
  const [n, tokens] = mask.shape as [number, number];
  const first = s.at("encoder", "block", 0, "layer", 0, "SelfAttention", "relative_attention_bias");
  return labelled(first.path, () => {
    const table = first.param("weight", [c.buckets, c.heads], normal(c.channels ** -0.5));
    const places = Array.from({ length: tokens * tokens }, (_, i) => (i % tokens) - Math.floor(i / tokens));
    const classes = constant(
      [tokens, tokens],
      places.map((distance) => bucketOf(distance, c)),
      "int64",
    );
    const bias = reshape(transpose(gather(table, classes), [2, 0, 1]), [1, c.heads, tokens, tokens]);
    return add(bias, reshape(mask, [n, 1, 1, tokens]));
  });
}

/**
 * The class of a key that stands `distance` tokens after its query: half of the classes for each direction, of which half
 * are single distances and half grow with its logarithm. Rounded to float32 where transformers' `_relative_position_bucket` is.
 */
export function bucketOf(
  distance: number,
  { buckets, maxDistance }: Pick<T5Config, "buckets" | "maxDistance">,
): number {
  const { fround } = Math;
  const each = buckets / 2;
  const exact = each / 2;
  const base = distance > 0 ? each : 0;
  const d = Math.abs(distance);
  if (d < exact) return base + d;
  const grown = fround(fround(Math.log(fround(d / exact))) / fround(Math.log(maxDistance / exact)));
  return base + Math.min(exact + Math.trunc(fround(grown * (each - exact))), each - 1);
}

/** Self-attention and gated feed-forward, each after an RMS norm: `x` [N, S, E] → [N, S, E]. Taps the result. */
function block(s: Scope, x: Value, bias: Value, c: T5Config): Value {
  return labelled(s.path, () => {
    const plain = (at: Scope, from: Value, out: number, std: number): Value =>
      linear(at, from, out, { bias: false, init: normal(std) });
    const width = c.channels;
    const inner = c.heads * c.headChannels;

    const attend = s.at("layer", 0, "SelfAttention");
    const first = rmsNorm(s.at("layer", 0, "layer_norm"), x, c.eps);
    // T5 does not divide scores by √D; its initial weights do, and ours here multiplies what the op divides by.
    const q = mul(
      plain(attend.at("q"), first, inner, (width * c.headChannels) ** -0.5),
      Math.sqrt(c.headChannels),
    );
    const k = plain(attend.at("k"), first, inner, width ** -0.5);
    const v = plain(attend.at("v"), first, inner, width ** -0.5);
    const mixed = labelled(attend.path, () => attention(q, k, v, { heads: c.heads, mask: bias }));
    const h = add(x, plain(attend.at("o"), mixed, width, inner ** -0.5));

    const gated = s.at("layer", 1, "DenseReluDense");
    const second = rmsNorm(s.at("layer", 1, "layer_norm"), h, c.eps);
    const gate = gelu(plain(gated.at("wi_0"), second, c.innerChannels, width ** -0.5), {
      approximate: "tanh",
    });
    const wide = mul(gate, plain(gated.at("wi_1"), second, c.innerChannels, width ** -0.5));
    return tap(s.path, add(h, plain(gated.at("wo"), wide, width, c.innerChannels ** -0.5)));
  });
}

/** The encoder as a graph: inputs `ids`, `mask`; output `last` [N, S, E]. */
export const buildT5 = (c: T5Config, size: TextSize): Built<"last"> =>
  build(t5Inputs(size), (s, inputs) => ({ last: t5Encoder(s, inputs, c) }));

/**
 * The same in pieces of `layers` blocks, to be run in order: the first takes `ids`, the others the `last` [N, S, E] of the one
 * before as `states`; all take `mask`. Each makes the bias of the distances anew from its small table.
 */
export function buildT5Pieces(c: T5Config, { batch, tokens }: TextSize, layers = 1): Built<"last">[] {
  const { ids, mask } = t5Inputs({ batch, tokens });
  const states: TensorType = { dtype: "float32", shape: [batch, tokens, c.channels] };
  const starts = Array.from({ length: Math.ceil(c.layers / layers) }, (_, i) => i * layers);
  const blocks = starts.map((start) =>
    build({ states, mask }, (s, inputs) => {
      const end = Math.min(start + layers, c.layers);
      const bias = scoreBias(s, inputs.mask, c);
      let h = inputs.states;
      for (let i = start; i < end; i++) h = block(s.at("encoder", "block", i), h, bias, c);
      return { last: end < c.layers ? h : rmsNorm(s.at("encoder", "final_layer_norm"), h, c.eps) };
    }),
  );
  return [build({ ids }, (s, inputs) => ({ last: embed(s, inputs.ids, c) })), ...blocks];
}
