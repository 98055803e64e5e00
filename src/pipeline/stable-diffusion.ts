/** Stable Diffusion's networks as the pipeline uses them: a U-Net that denoises, CLIP towers that read the prompt. */

import { buildClipText, eosRows } from "../models/clip-text.ts";
import { guidanceEmbedding, timestepEmbedding } from "../models/conditioning.ts";
import { buildUNet } from "../models/unet.ts";
import { float32, int64 } from "../tensor/tensor.ts";
import { readEmphasis } from "../text/emphasis.ts";
import { sizeFeatures } from "./conditions.ts";
import type { Denoiser, TextEncoder } from "./networks.ts";
import type { ModelParts, TextPart } from "./parts.ts";

/** The U-Net of Stable Diffusion and its relatives. */
export function unetDenoiser({ config, store, json }: ModelParts["unet"]): Denoiser {
  const channels = config.down[0]?.channels ?? 0;
  const { guidanceChannels } = config;
  return {
    ...{ name: "unet", title: "U-Net", store, json, patch: 1 },
    besideChannels: config.inChannels - config.outChannels,
    isToldGuidance: guidanceChannels !== null,
    graph: (size) => buildUNet(config, size).outputs,
    timeFeatures: (timestep, batch) =>
      float32(
        [batch, channels],
        timestepEmbedding(new Array<number>(batch).fill(timestep), channels, config.sinusoid),
      ),
    steady(request, batch) {
      const sizes = sizeFeatures(request, config, batch);
      return {
        ...(sizes === null ? {} : { time_ids: sizes }),
        ...(guidanceChannels === null
          ? {}
          : {
              timestep_cond: float32(
                [1, guidanceChannels],
                guidanceEmbedding([request.guidance - 1], guidanceChannels),
              ),
            }),
      };
    },
    headsOf(block) {
      const [kind, index] = block.split(".");
      if (kind === "mid_block") return config.mid?.heads ?? 0;
      return (kind === "down_blocks" ? config.down : config.up)[Number(index)]?.heads ?? 0;
    },
  };
}

/** Of a text. With 16 of 77 tokens a layer at 64 x 64 latent cells still attends to fewer tokens of text than of the picture. */
const mostChunks = 16;

/** A tower of CLIP; `isXL` asks it for the states before its last layer and for its projection. */
export function clipEncoder({ name, config, store, tokenizer }: TextPart, isXL: boolean): TextEncoder {
  const hasEnd = isXL && config.projection !== null;
  return {
    ...{ name, config, store, tokenizer },
    ...{ mostChunks, mostSkipped: config.layers - 1 },
    prepare: (prompt) => prompt,
    weigh: readEmphasis,
    graph(batch, skipped = 0) {
      const { outputs } = buildClipText(config, { batch, tokens: tokenizer.maxLength }, skipped);
      if (!isXL) return { last: outputs.last };
      return { hidden: outputs.hidden, ...(hasEnd ? { projected: outputs.projected } : {}) };
    },
    pieces: () => null,
    feeds(encoded) {
      const ids = encoded.flatMap((e) => e.ids);
      const length = tokenizer.maxLength;
      // an encoder that is asked for token states alone has no use for where the sentence ends
      const eos = { eos: int64([encoded.length], eosRows(ids, length, config.eosToken)) };
      return { ids: int64([encoded.length, length], ids), ...(hasEnd ? eos : {}) };
    },
    mask: () => null,
  };
}
