/**
 * Batches of the cached data as a denoiser learns from them: latents drawn from their moments, noised at random steps,
 * with text, sizes and target. Everything random follows from seed and micro-batch, so any batch can be made again.
 */

import type { DenoiserSize } from "../../pipeline/networks.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { latentsFromMoments } from "../data/encode.ts";
import type { Batch as Loaded, Loader } from "../data/loader.ts";
import type { Network } from "../networks/network.ts";
import { drawNoise, drawTimesteps, noisedBatch, stepGenerator, type Weighting } from "../objective.ts";
import type { Objective } from "../segments.ts";
import type { Batch } from "../trainer.ts";
import type { TrainingNoise } from "./schedule.ts";

/** What is fed of the data, whatever is learned from it. */
export interface LatentOptions {
  readonly loader: Pick<Loader, "at">;
  readonly network: Pick<Network, "timeFeatures" | "conditions">;
  /** Whether batches come in several sizes. */
  readonly hasSizes?: boolean;
  readonly vae: { readonly scalingFactor: number; readonly shiftFactor: number };
  /** Whether "no caption" is zeros to the model, as its pipeline feeds it, or the encoding of "". */
  readonly hasZeroForEmpty: boolean;
  readonly seed: number;
}

export interface NoisedOptions extends LatentOptions, TrainingNoise {
  readonly weighting: Weighting;
  readonly noiseOffset: number;
}

/** The size of a batch of latents, whatever that of the others is. */
export function sizeOfBatch({ sample }: Batch, size: DenoiserSize): DenoiserSize {
  const [, , height = 0, width = 0] = sample?.shape ?? [];
  return { ...size, height, width };
}

/** What is learned at `size`, and where batches come in several sizes, at that of any. */
export const objectiveOf = (
  { size, hasSizes }: { readonly size: DenoiserSize; readonly hasSizes: boolean | undefined },
  build: (size: DenoiserSize) => Objective,
): Objective => ({
  ...build(size),
  ...(hasSizes ? { sized: (batch) => build(sizeOfBatch(batch, size)) } : {}),
});

/** Names of what a denoiser's graph is fed beside its own inputs. */
export const targetInput = "target";
export const weightInput = "weight";

/** Micro-batch `index`, from 0: the network's inputs, `target` like the latents, and `weight` [N]. */
export async function noisedFeeds(index: number, o: NoisedOptions): Promise<Batch> {
  const loaded = await o.loader.at(index);
  const z0 = drawnLatents(loaded, index, o);
  const [batch = 0, channels = 0, h = 0, w = 0] = z0.shape;
  const noise = drawNoise(stepGenerator(o.seed, index, "noise", loaded.share), {
    ...{ batch, channels, cells: h * w, offset: o.noiseOffset },
  });
  const timesteps = drawTimesteps(
    stepGenerator(o.seed, index, "timestep", loaded.share),
    batch,
    o.alphasCumprod.length,
  );
  const { sample, target, weight } = noisedBatch(toFloat32(z0), noise, timesteps, {
    alphasCumprod: o.alphasCumprod,
    prediction: o.prediction,
    weighting: o.weighting,
  });
  return {
    sample: float32(z0.shape, sample),
    t_emb: o.network.timeFeatures(timesteps),
    ...o.network.conditions(loaded, o.hasZeroForEmpty),
    [targetInput]: float32(z0.shape, target),
    [weightInput]: float32([batch], weight),
  };
}

/** Latents of micro-batch `index`, drawn from their moments [N, L, h, w]. */
export function drawnLatents({ pictures, share }: Loaded, index: number, o: LatentOptions): Tensor {
  const noise = new Float32Array(pictures.data.length / 2);
  stepGenerator(o.seed, index, "posterior", share).normal(noise, 1);
  return latentsFromMoments(pictures, noise, o.vae);
}
