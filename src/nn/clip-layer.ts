/** The layer that CLIP's two towers share: Radford et al. 2021, arXiv:2103.00020; transformers' `CLIPEncoderLayer`. */

import { labelled, type Value } from "../graph/op.ts";
import { add, gelu, attention as opAttention, quickGelu, tap } from "../ops/index.ts";
import { linear } from "./linear.ts";
import { layerNorm } from "./norm.ts";
import { normal, type Scope, zeros } from "./scope.ts";

export interface ClipLayerOptions {
  readonly innerChannels: number;
  readonly heads: number;
  /** Layers of the whole tower: they share the scale of the initialization. */
  readonly layers: number;
  readonly activation: "quick_gelu" | "gelu";
  readonly eps: number;
  /** Added to the scores, broadcasting to [N, K, S, S]; null where every token sees all. */
  readonly mask: Value | null;
}

/** Self-attention and two linear layers, each after a norm and with a residual: `x` [N, S, E] → the same shape. */
export function clipLayer(s: Scope, x: Value, o: ClipLayerOptions): Value {
  return labelled(s.path, () => {
    const channels = x.shape[2]!;
    // Deviations of the initialization: OpenAI's CLIP, `CLIP.initialize_parameters`.
    const deep = channels ** -0.5 * (2 * o.layers) ** -0.5;
    const drawn = (std: number) => ({ init: normal(std), biasInit: zeros });

    const attend = s.at("self_attn");
    const first = layerNorm(s.at("layer_norm1"), x, o.eps);
    const project = (name: string) => linear(attend.at(name), first, channels, drawn(deep));
    const [q, k, v] = [project("q_proj"), project("k_proj"), project("v_proj")];
    const mixed = labelled(attend.path, () => opAttention(q, k, v, { heads: o.heads, mask: o.mask }));
    const h = add(x, linear(attend.at("out_proj"), mixed, channels, drawn(channels ** -0.5)));

    const mlp = s.at("mlp");
    const second = layerNorm(s.at("layer_norm2"), h, o.eps);
    const wide = linear(mlp.at("fc1"), second, o.innerChannels, drawn((2 * channels) ** -0.5));
    const active = o.activation === "gelu" ? gelu(wide, { approximate: "none" }) : quickGelu(wide);
    return tap(s.path, add(h, linear(mlp.at("fc2"), active, channels, drawn(deep))));
  });
}
