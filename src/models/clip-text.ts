/**
 * The text towers of CLIP: tokens in; states of every token, and one vector for the sentence, out.
 *
 * Source: Radford et al. 2021, arXiv:2103.00020, section 2.4.
 * Parameter names are those of transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`: with the prefix `text_model.`.
 */

import { labelled, type TensorType, type Value } from "../graph/op.ts";
import { clipLayer, embedding, layerNorm, linear, normal, type Scope } from "../nn/index.ts";
import { add, constant, gather, reshape, slice } from "../ops/index.ts";
import { type Built, build } from "./built.ts";
import { ConfigReader } from "./config.ts";

export interface ClipTextConfig {
  readonly vocabulary: number;
  /** Width of the states. */
  readonly channels: number;
  readonly innerChannels: number;
  readonly layers: number;
  readonly heads: number;
  /** Longest text, in tokens with the two that open and close it. */
  readonly positions: number;
  readonly activation: "quick_gelu" | "gelu";
  readonly eps: number;
  /** Width of the projected sentence vector; null where there is no projection. */
  readonly projection: number | null;
  /** The token that ends a text; 2 means the highest of the sequence, as in checkpoints older than transformers 4.31. */
  readonly eosToken: number;
}

export interface ClipTextInputs {
  /** Tokens, int64 [N, S]. */
  readonly ids: Value;
  /** Row of each text's end among all N·S tokens, int64 [N]: `eosRows`. */
  readonly eos: Value;
}

export type ClipTextOutputs = {
  /** States after the last layer and norm [N, S, E]: what SD 1 and 2 read. */
  readonly last: Value;
  /** States before the last layer, without norm [N, S, E]: what SDXL reads. */
  readonly hidden: Value;
  /** The state after the last layer and norm at the end of the text [N, E]. */
  readonly pooled: Value;
  /** `pooled` projected [N, P]; only with a projection. */
  readonly projected?: Value;
};

export interface TextSize {
  readonly batch: number;
  readonly tokens: number;
}

/** Added to the scores of later tokens: exp(−10000) is 0 in float32, and the number itself fits in float16. */
const MASKED = -1e4;

/**
 * Reads and checks `text_encoder/config.json`.
 * transformers writes many fields that concern no network; only those of the network are read.
 * @throws KoalaError E_CONFIG naming the field that is missing, malformed or not supported
 */
export function clipTextConfig(json: unknown, where = "text_encoder/config.json"): ClipTextConfig {
  const r = new ConfigReader(json, where);
  const [architecture] = r.choices("architectures", ["CLIPTextModel", "CLIPTextModelWithProjection"]);
  r.only({ model_type: ["clip_text_model"] });
  const channels = r.count("hidden_size", 512);
  const heads = r.count("num_attention_heads", 8);
  if (channels % heads !== 0) throw r.wrong("num_attention_heads", `a divisor of hidden_size, ${channels}`);
  return {
    vocabulary: r.count("vocab_size", 49408),
    channels,
    innerChannels: r.count("intermediate_size", 2048),
    layers: r.count("num_hidden_layers", 12),
    heads,
    positions: r.count("max_position_embeddings", 77),
    activation: r.choice("hidden_act", ["quick_gelu", "gelu"]),
    eps: r.number("layer_norm_eps", 1e-5),
    projection: architecture === "CLIPTextModelWithProjection" ? r.count("projection_dim", 512) : null,
    eosToken: r.number("eos_token_id", 49407),
  };
}

/**
 * For each of the `ids` [N, `length`], row-major, the row of its end among all N·length: the input `eos` of the graph.
 * Source: transformers' `CLIPTextModel.forward`: the first highest token where the config says 2, else the first `eosToken`,
 * or the first token of the row where there is none.
 */
export function eosRows(ids: ArrayLike<number>, length: number, eosToken: number): number[] {
  return Array.from({ length: ids.length / length }, (_, n) => {
    const row = Array.from({ length }, (_, i) => ids[n * length + i]!);
    const end = row.indexOf(eosToken === 2 ? row.reduce((a, b) => Math.max(a, b)) : eosToken);
    return n * length + Math.max(end, 0);
  });
}

/** What `clipText` is fed for texts of that size: exactly these names. */
export const clipTextInputs = ({ batch, tokens }: TextSize): Record<keyof ClipTextInputs, TensorType> => ({
  ids: { dtype: "int64", shape: [batch, tokens] },
  eos: { dtype: "int64", shape: [batch] },
});

/**
 * `inputs.ids` [N, S] with S at most `positions` → states and sentence vectors. `last` and `hidden` are those of a tower without its
 * last `skipped` layers, of which it keeps one at least; the sentence's vectors are of all of it (diffusers' `clip_skip`).
 */
export function clipText(
  root: Scope,
  inputs: ClipTextInputs,
  c: ClipTextConfig,
  skipped = 0,
): ClipTextOutputs {
  const s = root.at("text_model");
  const [batch, tokens] = inputs.ids.shape as [number, number];
  const width = c.channels;
  const mask = labelled(s.path, () => causalMask(tokens));

  const at = s.at("embeddings");
  let h = labelled(at.path, () => {
    const token = at.at("token_embedding");
    const words = embedding(token, inputs.ids, { entries: c.vocabulary, width, std: 0.02 }); // [N, S, E]
    const places = at.at("position_embedding").param("weight", [c.positions, width], normal(0.02));
    return add(words, slice(places, { axis: 0, start: 0, end: tokens }));
  });
  const states = [h]; // before the first layer, and after each
  for (let i = 0; i < c.layers; i++) {
    h = clipLayer(s.at("encoder", "layers", i), h, { ...c, mask });
    states.push(h);
  }
  const normed = (state: Value): Value => layerNorm(s.at("final_layer_norm"), state, c.eps);
  const end = normed(h);
  const last = skipped === 0 ? end : normed(states[c.layers - skipped]!);
  const hidden = states[c.layers - skipped - 1]!;
  const pooled = labelled(s.path, () => gather(reshape(end, [batch * tokens, width]), inputs.eos)); // [N, E]
  if (c.projection === null) return { last, hidden, pooled };
  const init = normal(width ** -0.5);
  return {
    last,
    hidden,
    pooled,
    projected: linear(root.at("text_projection"), pooled, c.projection, { bias: false, init }),
  };
}

/** [1, 1, S, S]: a token sees itself and what precedes it. */
function causalMask(tokens: number): Value {
  const cells = Array.from({ length: tokens * tokens }, (_, i) =>
    i % tokens > Math.floor(i / tokens) ? MASKED : 0,
  );
  return constant([1, 1, tokens, tokens], cells);
}

/** The tower as a graph: inputs `ids`, `eos`; outputs `last`, `hidden`, `pooled` and, with a projection, `projected`. */
export const buildClipText = (c: ClipTextConfig, size: TextSize, skipped = 0): Built<keyof ClipTextOutputs> =>
  build(
    clipTextInputs(size),
    (s, inputs) => clipText(s, inputs, c, skipped) as Record<keyof ClipTextOutputs, Value>,
  );
