/**
 * What a trained autoencoder is worth: its reconstructions beside the pictures, in dB; and its latents, whose mean and
 * scale go into its weights and config, so that a denoiser meets numbers of mean 0 and deviation 1.
 */

import { compile } from "../../engine/compile.ts";
import type { Program } from "../../engine/program.ts";
import { type Picture, toPictures } from "../../image/pixels.ts";
import { type VaeConfig, type VaeSize, vaeDecoder, vaeEncoder } from "../../models/vae.ts";
import { fedLeaf, Scope } from "../../nn/index.ts";
import { input, split } from "../../ops/index.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { logVarianceRange } from "../data/encode.ts";
import { noStore, type TrainEngine } from "../flat.ts";
import { momentsBias } from "./vae.ts";

type Weights = ReadonlyMap<string, Tensor>;

/** The VAE as it stands, whose weights are fed at every run. */
export interface VaeMeter {
  readonly batch: number;
  /** `pictures` [N, 3, H, W] in −1..1 → what becomes of them by way of their latents' means. */
  reconstruct(pictures: Tensor, weights: Weights): Promise<Picture[]>;
  /** `pictures` → moments [N, 2·L, h, w]. */
  moments(pictures: Tensor, weights: Weights): Promise<Tensor>;
  dispose(): Promise<void>;
}

/** @throws KoalaError E_ENGINE */
export async function vaeMeter(c: VaeConfig, size: VaeSize, o: TrainEngine): Promise<VaeMeter> {
  const s = new Scope("", new Map(), fedLeaf);
  const picture = input("picture", { shape: [size.batch, c.pictureChannels, size.height, size.width] });
  const moments = vaeEncoder(s, picture, c);
  const latents = split(moments, 2, 1)[0] as typeof moments;
  const made: Program[] = [];
  const program = async (outputs: Parameters<typeof compile>[0]): Promise<Program> => {
    const one = await compile(outputs, { ...o, store: noStore });
    made.push(one);
    return one;
  };
  const encode = await program({ moments });
  const both = await program({ reconstruction: vaeDecoder(s, latents, c) });
  const feeds = ({ inputs }: Program, pictures: Tensor, weights: Weights): Record<string, Tensor> => ({
    ...Object.fromEntries([...weights].filter(([name]) => inputs[name] !== undefined)),
    picture: pictures,
  });
  return {
    batch: size.batch,
    reconstruct: async (pictures, weights) =>
      toPictures((await both.run(feeds(both, pictures, weights))).reconstruction as Tensor),
    moments: async (pictures, weights) =>
      (await encode.run(feeds(encode, pictures, weights))).moments as Tensor,
    async dispose() {
      for (const one of made) await one.dispose();
    },
  };
}

/** Peak signal to noise ratio of two pictures of one size, in dB over 8-bit values, 100 at most. */
export function psnr(a: Picture, b: Picture): number {
  let squares = 0;
  for (let i = 0; i < a.data.length; i++) squares += ((a.data[i] ?? 0) - (b.data[i] ?? 0)) ** 2;
  return Math.min(100, 10 * Math.log10((255 ** 2 * a.data.length) / squares));
}

/** Mean of each channel of latents, and the deviation of all around them, the posterior's own noise in it. */
export interface LatentFacts {
  readonly means: readonly number[];
  readonly deviation: number;
}

/** Adds up moments, batch by batch. */
export class LatentSums {
  #count = 0;
  readonly #sums: Float64Array;
  readonly #squares: Float64Array;
  #noise = 0;

  constructor(channels: number) {
    this.#sums = new Float64Array(channels);
    this.#squares = new Float64Array(channels);
  }

  /** The first `count` rows of moments [N, 2·L, h, w]. */
  add(moments: Tensor, count: number): void {
    const [, channels = 0, h = 0, w = 0] = moments.shape;
    const values = toFloat32(moments);
    const [cells, L] = [h * w, channels / 2];
    const [low, high] = logVarianceRange;
    for (let i = 0; i < count * L * cells; i++) {
      const [n, channel] = [Math.floor(i / (L * cells)), Math.floor(i / cells) % L];
      const at = i + n * L * cells;
      const mean = values[at] ?? 0;
      this.#sums[channel] = (this.#sums[channel] ?? 0) + mean;
      this.#squares[channel] = (this.#squares[channel] ?? 0) + mean ** 2;
      this.#noise += Math.exp(Math.min(high, Math.max(low, values[at + L * cells] ?? 0)));
    }
    this.#count += count * cells;
  }

  facts(): LatentFacts {
    const means = [...this.#sums].map((sum) => sum / this.#count);
    const variances = [...this.#squares].map((sum, c) => sum / this.#count - (means[c] ?? 0) ** 2);
    const L = means.length;
    const variance = variances.reduce((a, b) => a + b, 0) / L + this.#noise / (this.#count * L);
    return { means, deviation: Math.sqrt(variance) };
  }
}

/** Weights, and the fields of config.json that go with them. */
export interface ScaledVae {
  readonly weights: Weights;
  readonly config: { readonly scaling_factor: number; readonly shift_factor?: number };
}

const rounded = (x: number): number => Number(x.toPrecision(6));

/**
 * The same autoencoder whose latents have mean 0 in each channel and, times its `scaling_factor`, deviation 1: the means
 * leave with the encoder's last bias and come back with `post_quant_conv`. A VAE without that layer keeps its weights,
 * and the one mean of all channels is its `shift_factor`.
 */
export function scaled(weights: Weights, c: VaeConfig, { means, deviation }: LatentFacts): ScaledVae {
  if (!c.hasPostQuantConv) {
    const mean = means.reduce((a, b) => a + b, 0) / means.length;
    const between = means.reduce((sum, m) => sum + (m - mean) ** 2, 0) / means.length;
    const config = {
      scaling_factor: rounded(1 / Math.sqrt(deviation ** 2 + between)),
      shift_factor: rounded(mean),
    };
    return { weights, config };
  }
  const moved = new Map(weights);
  const change = (name: string, by: (value: number, i: number) => number): void => {
    const t = weights.get(name) as Tensor;
    moved.set(name, float32(t.shape, toFloat32(t).map(by)));
  };
  change(momentsBias(c), (b, i) => b - (means[i] ?? 0)); // the log-variances have no mean here
  const back = toFloat32(weights.get("post_quant_conv.weight") as Tensor); // [L, L, 1, 1]
  change("post_quant_conv.bias", (b, i) =>
    means.reduce((sum, m, j) => sum + (back[i * means.length + j] ?? 0) * m, b),
  );
  return { weights: moved, config: { scaling_factor: rounded(1 / deviation) } };
}
