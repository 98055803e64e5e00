/** Training an autoencoder: batches of patches of pictures, and the loss over its weights, all or the decoder's. */

import { buildVaeDecoder, buildVaeEncoder, type VaeConfig, vaeFactor } from "../../models/vae.ts";
import { fedLeaf, type Parameter, Scope } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";
import type { FastGenerator } from "../../tensor/random.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import type { Loader } from "../data/loader.ts";
import { noStore } from "../flat.ts";
import { stepGenerator } from "../objective.ts";
import type { Batch } from "../trainer.ts";
import { fedWeights, microBatches } from "./denoiser.ts";
import { freshStore } from "./fresh.ts";
import type { Task } from "./task.ts";
import { type VaeTerm, vaeLossTerms } from "./vae-loss.ts";

export interface PatchOptions {
  /** Side in pixels of the square that is cut out of each picture, wherever it falls. */
  readonly side: number;
  /** Whether one patch in two is mirrored. */
  readonly hasFlips: boolean;
}

export interface VaeTaskOptions {
  readonly config: VaeConfig;
  readonly batch: number;
  readonly patch: PatchOptions;
  readonly initial: TensorStore;
  readonly loader: Pick<Loader, "at">;
  readonly seed: number;
  readonly factors: Readonly<Record<VaeTerm, number>>;
  /** The encoder stays as it is, and with it the latents that a denoiser knows. */
  readonly isDecoderOnly: boolean;
  /** Batches a step. */
  readonly accumulate: number;
}

/** Square patches of `pictures` [N, 3, H, W], each at a place of its own → [N, 3, side, side]. */
export function patches(
  pictures: Tensor,
  { side, hasFlips }: PatchOptions,
  random: Pick<FastGenerator, "uniform">,
): Tensor {
  const [n = 0, channels = 0, height = 0, width = 0] = pictures.shape;
  const values = toFloat32(pictures);
  const out = new Float32Array(n * channels * side * side);
  const draws = new Float32Array(3 * n);
  random.uniform(draws, 0, 1);
  const place = (u: number, length: number): number =>
    Math.min(Math.floor(u * (length - side + 1)), length - side);
  for (let i = 0; i < n; i++) {
    const [x = 0, y = 0, flip = 0] = draws.subarray(3 * i, 3 * i + 3);
    const [left, top] = [place(x, width), place(y, height)];
    for (let row = 0; row < channels * side; row++) {
      const plane = i * channels + Math.floor(row / side);
      const from = (plane * height + top + (row % side)) * width + left;
      const to = (i * channels * side + row) * side;
      out.set(values.subarray(from, from + side), to);
      if (hasFlips && flip < 0.5) out.subarray(to, to + side).reverse();
    }
  }
  return float32([n, channels, side, side], out);
}

export function vaeTask(o: VaeTaskOptions): Task {
  const { config, batch, patch, accumulate } = o;
  const [cells, L] = [patch.side / vaeFactor(config), config.latentChannels];
  const trained = new Scope("", new Map(), fedLeaf);
  const encoder = o.isDecoderOnly ? new Scope() : trained;
  const leaves = {
    picture: input("picture", { shape: [batch, config.pictureChannels, patch.side, patch.side] }),
    noise: input("noise", { shape: [batch, L, cells, cells] }),
  };
  const terms = vaeLossTerms(encoder, trained, leaves, config);

  async function feeds(index: number): Promise<Batch> {
    const { pictures, share } = await o.loader.at(index);
    const noise = new Float32Array(batch * L * cells * cells);
    stepGenerator(o.seed, index, "posterior", share).normal(noise, 1);
    return {
      picture: patches(pictures, patch, stepGenerator(o.seed, index, "patch", share)),
      noise: float32([batch, L, cells, cells], noise),
    };
  }

  return {
    objective: { terms, factors: { ...o.factors, psnr: 0 } },
    weights: fedWeights(trained),
    initial: o.initial,
    frozen: o.isDecoderOnly ? o.initial : noStore,
    pictures: batch * accumulate,
    batches: (step) => Promise.all(microBatches(step, accumulate).map(feeds)),
    dispose: async () => {},
  };
}

/** Every parameter of an autoencoder, by checkpoint name. */
export function vaeParameters(c: VaeConfig): ReadonlyMap<string, Parameter> {
  const size = { batch: 1, height: 8 * vaeFactor(c), width: 8 * vaeFactor(c) };
  return new Map([
    ...buildVaeEncoder(c, size).parameters,
    ...buildVaeDecoder(c, { batch: 1, height: 8, width: 8 }).parameters,
  ]);
}

/** The bias of the moments, the last `latentChannels` of which are log-variances. */
export const momentsBias = (c: VaeConfig): string =>
  c.hasQuantConv ? "quant_conv.bias" : "encoder.conv_out.bias";

/**
 * Random weights that begin with latents of log-variance about `logVariance`: with that of a fresh bias, 0, the noise is
 * as large as the latents, and the decoder learns to ignore them first.
 */
export function freshVae(c: VaeConfig, seed: number, logVariance: number): TensorStore {
  const store = freshStore(vaeParameters(c), seed);
  const bias = momentsBias(c);
  return {
    tensors: store.tensors,
    async read(name) {
      const t = await store.read(name);
      if (name === bias) toFloat32(t).fill(logVariance, c.latentChannels);
      return t;
    },
  };
}
