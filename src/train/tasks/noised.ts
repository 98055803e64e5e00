/**
 * Batches of the cached data as a denoiser learns from them: latents drawn from their moments, noised at random steps,
 * with text, sizes and target. Everything random follows from seed and micro-batch, so any batch can be made again.
 */

import { timestepEmbedding } from "../../models/conditioning.ts";
import { type UNetSize, unetInputs } from "../../models/unet.ts";
import type { UNetConfig } from "../../models/unet-config.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { latentsFromMoments } from "../data/encode.ts";
import type { Batch as Loaded, Loader } from "../data/loader.ts";
import { drawNoise, drawTimesteps, noisedBatch, stepGenerator } from "../objective.ts";
import type { Batch } from "../trainer.ts";
import type { TrainingNoise } from "./schedule.ts";

export interface NoisedOptions extends TrainingNoise {
  readonly loader: Pick<Loader, "at">;
  readonly unet: UNetConfig;
  readonly size: UNetSize;
  readonly vae: { readonly scalingFactor: number; readonly shiftFactor: number };
  /** Whether "no caption" is zeros to the model, as its pipeline feeds it, or the encoding of "". */
  readonly hasZeroForEmpty: boolean;
  readonly seed: number;
  /** 0: none. */
  readonly minSnr: number;
  readonly noiseOffset: number;
}

/** Names of what a denoiser's graph is fed beside its own inputs. */
export const targetInput = "target";
export const weightInput = "weight";

/** Micro-batch `index`, from 0: the U-Net's inputs, `target` like the latents, and `weight` [N]. */
export async function noisedFeeds(index: number, o: NoisedOptions): Promise<Batch> {
  const loaded = await o.loader.at(index);
  const z0 = latents(loaded, index, o);
  const [batch = 0, channels = 0, h = 0, w = 0] = z0.shape;
  const noise = drawNoise(stepGenerator(o.seed, index, "noise"), {
    ...{ batch, channels, cells: h * w, offset: o.noiseOffset },
  });
  const timesteps = drawTimesteps(stepGenerator(o.seed, index, "timestep"), batch, o.alphasCumprod.length);
  const { sample, target, weight } = noisedBatch(toFloat32(z0), noise, timesteps, {
    alphasCumprod: o.alphasCumprod,
    prediction: o.prediction,
    ...(o.minSnr === 0 ? {} : { minSnr: o.minSnr }),
  });
  const types = unetInputs(o.unet, o.size);
  const width = o.unet.down[0]?.channels ?? 0;
  const added = o.unet.added;
  return {
    sample: float32(z0.shape, sample),
    t_emb: float32(types.t_emb.shape, timestepEmbedding(timesteps, width, o.unet.sinusoid)),
    text: withoutEmpty(loaded.text as Tensor, loaded, o),
    ...(added === null
      ? {}
      : {
          pooled: withoutEmpty(loaded.pooled as Tensor, loaded, o),
          time_ids: float32(
            types.time_ids.shape,
            timestepEmbedding(loaded.sizes, added.sizeChannels, o.unet.sinusoid),
          ),
        }),
    [targetInput]: float32(z0.shape, target),
    [weightInput]: float32([batch], weight),
  };
}

/** [N, L, h, w] */
function latents({ pictures }: Loaded, index: number, o: NoisedOptions): Tensor {
  const noise = new Float32Array(pictures.data.length / 2);
  stepGenerator(o.seed, index, "posterior").normal(noise, 1);
  return latentsFromMoments(pictures, noise, o.vae);
}

/** The rows of empty captions as the pipeline feeds them. */
function withoutEmpty(states: Tensor, { captions }: Loaded, { hasZeroForEmpty }: NoisedOptions): Tensor {
  if (!hasZeroForEmpty || !captions.includes("")) return states;
  const data = toFloat32(states).slice();
  const each = data.length / captions.length;
  for (const [i, caption] of captions.entries()) if (caption === "") data.fill(0, i * each, (i + 1) * each);
  return float32(states.shape, data);
}
