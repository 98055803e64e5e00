/** What small U-Nets are trained on in tests: two pictures a batch, by the rule of fill.ts, without a data set. */

import type { UNetConfig } from "../src/models/unet-config.ts";
import { float32, type Tensor } from "../src/tensor/tensor.ts";
import type { Batch } from "../src/train/data/loader.ts";
import type { NoisedOptions } from "../src/train/tasks/noised.ts";
import { fill } from "./fill.ts";
import { goldenJson } from "./golden.ts";

/** A U-Net of KOALA-700M's layout with some thousand weights. */
export const smallUNet = {
  ...goldenJson("families/koala-700m/unet/config.json"),
  ...{ block_out_channels: [8, 16], attention_head_dim: [1, 2], transformer_layers_per_block: [1, 1] },
  norm_num_groups: 4,
  ...{ down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"] },
  ...{ up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"] },
};

export const random = (name: string, ...shape: number[]): Tensor =>
  float32(shape, fill(`input.${name}`, shape));

/** Latents of 8 x 8 and texts of 4 tokens, other ones at every step. */
export const batchesFor = (
  config: UNetConfig,
  captions: readonly string[] = ["a cat", ""],
): NoisedOptions["loader"] => ({
  at: async (step: number): Promise<Batch> => ({
    ...{ step, epoch: 0, size: { width: 64, height: 64 }, ids: ["a", "b"], captions },
    pictures: random(`pictures.${step}`, 2, 2 * config.inChannels, 8, 8),
    text: random("text", 2, 4, config.textChannels),
    pooled: random("pooled", 2, config.added?.pooledChannels ?? 0),
    sizes: [64, 64, 0, 0, 64, 64, 64, 64, 0, 0, 64, 64],
  }),
});
