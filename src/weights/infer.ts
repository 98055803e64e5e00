/**
 * The config of a model, read off the names and shapes of its tensors (diffusers' names), for files that carry none.
 * What shapes cannot tell is stated with its source.
 */

import { check } from "../core/assert.ts";
import type { TensorStore } from "../tensor/stored.ts";

/** The fields of a diffusers or transformers `config.json`. */
export type InferredConfig = Readonly<Record<string, unknown>>;

/** Looks up shapes by name, for one store. */
class Shapes {
  private readonly store: TensorStore;
  private readonly where: string;

  constructor(store: TensorStore, where: string) {
    this.store = store;
    this.where = where;
  }

  has(name: string): boolean {
    return this.store.tensors.has(name);
  }

  /** Length of one axis. @throws KoalaError E_WEIGHTS when there is no such tensor or axis */
  dim(name: string, axis: number): number {
    const found = this.store.tensors.get(name)?.shape[axis];
    check(found !== undefined, "E_WEIGHTS", () => ({
      where: this.where,
      expected: `a tensor ${name} of ${axis + 1} axes or more, to tell the model's shape from`,
      got: this.has(name) ? "fewer axes" : "none of that name",
    }));
    return found;
  }

  rank(name: string): number {
    return this.store.tensors.get(name)?.shape.length ?? 0;
  }

  /** How many of `prefix0`, `prefix1`, … there are; a name counts when it begins with `prefix3.`. */
  count(prefix: string): number {
    let n = 0;
    for (const name of this.store.tensors.keys()) {
      if (!name.startsWith(prefix)) continue;
      const index = Number.parseInt(name.slice(prefix.length), 10);
      if (index >= n) n = index + 1;
    }
    return n;
  }
}

/** Transformer blocks after each residual block of a level: 0 where there is none. */
const depthsOf = (shapes: Shapes, block: string): number[] =>
  Array.from({ length: shapes.count(`${block}.resnets.`) }, (_, layer) =>
    shapes.count(`${block}.attentions.${layer}.transformer_blocks.`),
  );

const isUniform = (depths: readonly number[]): boolean => depths.every((d) => d === depths[0]);

/** As a config says it: one number where all are equal, 1 where there is no attention (the field is ignored there). */
const depthField = (depths: readonly number[]): number | number[] =>
  isUniform(depths) ? Math.max(1, depths[0] ?? 1) : [...depths];

/**
 * Config of a U-Net of Stable Diffusion 1, 2, XL or one of their pruned relatives.
 * The number of heads leaves no trace in the shapes: 8 where the transformer's projections are convolutions (SD 1), else
 * one for every 64 channels (SD 2, SDXL; `num_heads` and `num_head_channels` of their v1 and v2 inference configs).
 * @throws KoalaError E_WEIGHTS, E_CONFIG
 */
export function inferUnetConfig(store: TensorStore, where: string): InferredConfig {
  const shapes = new Shapes(store, where);
  const levels = shapes.count("down_blocks.");
  check(levels > 0, "E_WEIGHTS", () => ({ where, expected: "down_blocks of a U-Net", got: "none" }));
  const indices = Array.from({ length: levels }, (_, i) => i);
  const channels = indices.map((i) => shapes.dim(`down_blocks.${i}.resnets.0.conv1.weight`, 0));
  const down = indices.map((i) => depthsOf(shapes, `down_blocks.${i}`));
  const up = indices.map((i) => depthsOf(shapes, `up_blocks.${i}`));
  const hasAttention = (depths: readonly number[]): boolean => depths.some((d) => d > 0);
  for (const [block, depths] of [...down, ...up].entries()) {
    check(!hasAttention(depths) || depths.every((d) => d > 0), "E_CONFIG", () => ({
      where: `${where}: ${block < levels ? `down_blocks.${block}` : `up_blocks.${block - levels}`}`,
      expected: "attention after every residual block or after none",
      got: `transformer blocks ${depths.join(", ")}`,
    }));
  }

  const attention = [...store.tensors.keys()].find((name) => name.endsWith("attn2.to_k.weight"));
  check(attention !== undefined, "E_WEIGHTS", () => ({
    where,
    expected: "a U-Net with cross-attention",
    got: "none",
  }));
  const projection = `${attention.slice(0, attention.indexOf("transformer_blocks"))}proj_in.weight`;
  const isLinear = shapes.rank(projection) === 2;
  const layers = down.map((depths) => depths.length);

  return {
    _class_name: "UNet2DConditionModel",
    in_channels: shapes.dim("conv_in.weight", 1),
    out_channels: shapes.dim("conv_out.weight", 0),
    block_out_channels: channels,
    layers_per_block: isUniform(layers) ? layers[0] : layers,
    down_block_types: down.map((d) => (hasAttention(d) ? "CrossAttnDownBlock2D" : "DownBlock2D")),
    up_block_types: up.map((d) => (hasAttention(d) ? "CrossAttnUpBlock2D" : "UpBlock2D")),
    ...middle(shapes, down, up, where),
    cross_attention_dim: shapes.dim(attention, 1),
    attention_head_dim: isLinear ? channels.map((c) => Math.max(1, Math.round(c / 64))) : 8,
    use_linear_projection: isLinear,
    ...conditioning(shapes),
    act_fn: "silu",
    norm_num_groups: 32,
    norm_eps: 1e-5,
    flip_sin_to_cos: true,
    freq_shift: 0,
    center_input_sample: false,
    downsample_padding: 1,
  };
}

function conditioning(shapes: Shapes): InferredConfig {
  const isTextTime = shapes.has("add_embedding.linear_1.weight");
  return {
    time_cond_proj_dim: shapes.has("time_embedding.cond_proj.weight")
      ? shapes.dim("time_embedding.cond_proj.weight", 1)
      : null,
    addition_embed_type: isTextTime ? "text_time" : null,
    // SDXL's unet/config.json; every relative keeps it
    addition_time_embed_dim: isTextTime ? 256 : null,
    projection_class_embeddings_input_dim: isTextTime ? shapes.dim("add_embedding.linear_1.weight", 1) : null,
  };
}

/** The middle block, and the depths of all blocks, which one field of the config shares with it. */
function middle(shapes: Shapes, down: number[][], up: number[][], where: string): InferredConfig {
  const depth = shapes.count("mid_block.attentions.0.transformer_blocks.");
  const hasBlock = shapes.count("mid_block.resnets.") > 0;
  const fields = down.map(depthField);
  const deepest = down.at(-1) ?? [];
  // the config has no depth of the middle block's own: diffusers builds it as deep as the last entry says
  if (depth > 0 && deepest[0] === 0) fields[fields.length - 1] = depth;
  const last = fields.at(-1);
  check(depth === 0 || depth === last, "E_CONFIG", () => ({
    where: `${where}: mid_block`,
    expected: `${last} transformer blocks, as in the deepest level`,
    got: `${depth}`,
  }));
  const isMirrored = up.every((depths, i) => {
    const twin = down.at(-1 - i) ?? [];
    return isUniform(depths) && isUniform(twin) && depths[0] === twin[0];
  });
  return {
    mid_block_type: depth > 0 ? "UNetMidBlock2DCrossAttn" : hasBlock ? "UNetMidBlock2D" : null,
    transformer_layers_per_block: fields,
    reverse_transformer_layers_per_block: isMirrored ? null : up.map(depthField),
  };
}

/**
 * Config of an AutoencoderKL. `scalingFactor` multiplies latents after encoding; no tensor holds it.
 * @throws KoalaError E_WEIGHTS
 */
export function inferVaeConfig(
  store: TensorStore,
  o: { scalingFactor: number; mustUpcast: boolean; where: string },
): InferredConfig {
  const shapes = new Shapes(store, o.where);
  const levels = shapes.count("encoder.down_blocks.");
  return {
    _class_name: "AutoencoderKL",
    in_channels: shapes.dim("encoder.conv_in.weight", 1),
    out_channels: shapes.dim("decoder.conv_out.weight", 0),
    latent_channels: shapes.dim("decoder.conv_in.weight", 1),
    block_out_channels: Array.from({ length: levels }, (_, i) =>
      shapes.dim(`encoder.down_blocks.${i}.resnets.0.conv1.weight`, 0),
    ),
    down_block_types: Array.from({ length: levels }, () => "DownEncoderBlock2D"),
    up_block_types: Array.from({ length: levels }, () => "UpDecoderBlock2D"),
    layers_per_block: shapes.count("encoder.down_blocks.0.resnets."),
    mid_block_add_attention: shapes.has("encoder.mid_block.attentions.0.to_q.weight"),
    use_quant_conv: shapes.has("quant_conv.weight"),
    use_post_quant_conv: shapes.has("post_quant_conv.weight"),
    act_fn: "silu",
    norm_num_groups: 32,
    scaling_factor: o.scalingFactor,
    force_upcast: o.mustUpcast,
  };
}

/**
 * Config of a CLIP text tower. Heads are 64 wide in all of them (ViT-L, ViT-H, bigG); OpenAI's activation is quick_gelu,
 * OpenCLIP's is gelu. Token ids are those of SDXL's own config files.
 * @throws KoalaError E_WEIGHTS
 */
export function inferTextConfig(
  store: TensorStore,
  o: { isOpenClip: boolean; where: string },
): InferredConfig {
  const shapes = new Shapes(store, o.where);
  const hidden = shapes.dim("text_model.embeddings.token_embedding.weight", 1);
  const hasProjection = shapes.has("text_projection.weight");
  return {
    architectures: [hasProjection ? "CLIPTextModelWithProjection" : "CLIPTextModel"],
    model_type: "clip_text_model",
    hidden_size: hidden,
    intermediate_size: shapes.dim("text_model.encoder.layers.0.mlp.fc1.weight", 0),
    num_hidden_layers: shapes.count("text_model.encoder.layers."),
    num_attention_heads: Math.max(1, Math.round(hidden / 64)),
    projection_dim: hasProjection ? shapes.dim("text_projection.weight", 0) : hidden,
    vocab_size: shapes.dim("text_model.embeddings.token_embedding.weight", 0),
    max_position_embeddings: shapes.dim("text_model.embeddings.position_embedding.weight", 0),
    hidden_act: o.isOpenClip ? "gelu" : "quick_gelu",
    layer_norm_eps: 1e-5,
    bos_token_id: 0,
    eos_token_id: 2,
    pad_token_id: 1,
  };
}
