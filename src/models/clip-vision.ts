/**
 * The picture tower of CLIP: patches in, one vector in the space of the texts out.
 *
 * Source: Radford et al. 2021, arXiv:2103.00020, section 2.4; Dosovitskiy et al. 2020, arXiv:2010.11929.
 * Parameter names are those of transformers' `CLIPVisionModelWithProjection`, its misspelt `pre_layrnorm` included.
 */

import { labelled, type TensorType, type Value } from "../graph/op.ts";
import { clipLayer, conv, layerNorm, linear, normal, type Scope } from "../nn/index.ts";
import { add, broadcastTo, concat, reshape, slice, transpose } from "../ops/index.ts";
import { type Built, build } from "./built.ts";
import { ConfigReader } from "./config.ts";

export interface ClipVisionConfig {
  /** Of a picture, 3. */
  readonly pictureChannels: number;
  /** Height and width of a picture, in pixels. */
  readonly pictureSize: number;
  /** Height and width of a patch, in pixels. */
  readonly patchSize: number;
  /** Width of the states. */
  readonly channels: number;
  readonly innerChannels: number;
  readonly layers: number;
  readonly heads: number;
  readonly activation: "quick_gelu" | "gelu";
  readonly eps: number;
  /** Width of the projected vector. */
  readonly projection: number;
}

export type ClipVisionOutputs = {
  /** States after the last layer, without norm [N, 1 + patches, E]. */
  readonly last: Value;
  /** The class token after its norm [N, E]. */
  readonly pooled: Value;
  /** `pooled` in the space that texts and pictures share [N, P]; not normalised. */
  readonly projected: Value;
};

/**
 * Reads and checks the `config.json` of a picture tower.
 * @throws KoalaError E_CONFIG naming the field that is missing, malformed or not supported
 */
export function clipVisionConfig(json: unknown, where = "image_encoder/config.json"): ClipVisionConfig {
  const r = new ConfigReader(json, where);
  r.choices("architectures", ["CLIPVisionModelWithProjection"]);
  r.only({ model_type: ["clip_vision_model"] });
  const channels = r.count("hidden_size", 768);
  const heads = r.count("num_attention_heads", 12);
  if (channels % heads !== 0) throw r.wrong("num_attention_heads", `a divisor of hidden_size, ${channels}`);
  const patchSize = r.count("patch_size", 32);
  const pictureSize = r.count("image_size", 224);
  if (pictureSize % patchSize !== 0) throw r.wrong("patch_size", `a divisor of image_size, ${pictureSize}`);
  return {
    pictureChannels: r.count("num_channels", 3),
    pictureSize,
    patchSize,
    channels,
    innerChannels: r.count("intermediate_size", 3072),
    layers: r.count("num_hidden_layers", 12),
    heads,
    activation: r.choice("hidden_act", ["quick_gelu", "gelu"]),
    eps: r.number("layer_norm_eps", 1e-5),
    projection: r.count("projection_dim", 512),
  };
}

/** `picture` [N, 3, H, W], normalised as the tower was trained → states and vectors. */
export function clipVision(root: Scope, picture: Value, c: ClipVisionConfig): ClipVisionOutputs {
  const s = root.at("vision_model");
  const batch = picture.shape[0]!;
  const E = c.channels;
  const patches = (c.pictureSize / c.patchSize) ** 2;

  const at = s.at("embeddings");
  let h = labelled(at.path, () => {
    const grid = conv(at.at("patch_embedding"), picture, E, {
      ...{ kernel: c.patchSize, stride: c.patchSize, pad: 0, bias: false },
    }); // [N, E, h, w]
    const rows = transpose(reshape(grid, [batch, E, patches]), [0, 2, 1]); // [N, h·w, E]
    const token = broadcastTo(at.param("class_embedding", [E], normal(E ** -0.5)), [batch, 1, E]);
    const places = at.at("position_embedding").param("weight", [patches + 1, E], normal(0.02));
    return add(concat([token, rows], 1), places); // [N, 1 + h·w, E]
  });
  h = layerNorm(s.at("pre_layrnorm"), h, c.eps);
  for (let i = 0; i < c.layers; i++) h = clipLayer(s.at("encoder", "layers", i), h, { ...c, mask: null });

  const first = reshape(slice(h, { axis: 1, start: 0, end: 1 }), [batch, E]);
  const pooled = layerNorm(s.at("post_layernorm"), first, c.eps);
  const init = normal(E ** -0.5);
  const projected = linear(root.at("visual_projection"), pooled, c.projection, { bias: false, init });
  return { last: h, pooled, projected };
}

/** What the tower is fed: exactly this name. */
export const clipVisionInputs = (c: ClipVisionConfig, batch: number): Record<"picture", TensorType> => ({
  picture: { dtype: "float32", shape: [batch, c.pictureChannels, c.pictureSize, c.pictureSize] },
});

/** The tower as a graph: input `picture`; outputs `last`, `pooled`, `projected`. */
export const buildClipVision = (c: ClipVisionConfig, batch: number): Built<keyof ClipVisionOutputs> =>
  build(clipVisionInputs(c, batch), (s, { picture }) => clipVision(s, picture, c));
