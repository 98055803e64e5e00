/**
 * What the pipeline asks of a denoiser and of a text encoder, whatever their architecture. A U-Net and CLIP answer in
 * stable-diffusion.ts, PixArt's transformer and T5 in pixart.ts.
 */

import type { Value } from "../graph/op.ts";
import type { TensorStore } from "../tensor/stored.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Weighted } from "../text/emphasis.ts";
import type { Encoded, Tokenizer } from "../text/tokenize.ts";
import type { Request } from "./request.ts";

type Graph = Readonly<Record<string, Value>>;
type Feeds = Readonly<Record<string, Tensor>>;

export interface DenoiserSize {
  readonly batch: number;
  /** In latent cells. */
  readonly height: number;
  readonly width: number;
  /** Text tokens. */
  readonly tokens: number;
}

/** Noisy latents `sample` [N, L + beside, h, w], features of the time `t_emb` and what `steady` says → `prediction` [N, L, h, w]. */
export interface Denoiser {
  /** Its folder, for messages. */
  readonly name: "unet" | "transformer";
  /** What it is called in a sentence. */
  readonly title: string;
  readonly store: TensorStore;
  /** Its config.json. */
  readonly json: unknown;
  /** Latent cells that height and width must divide by, besides what it rounds itself. */
  readonly patch: number;
  /**
   * Channels that it reads beside the latents: of an inpainting U-Net L + 1, a mask (1 is drawn anew) and the latents of what that
   * leaves of the picture; else 0.
   */
  readonly besideChannels: number;
  /** Whether the guidance scale is an input, so that it need not run twice a step. */
  readonly isToldGuidance: boolean;
  graph(size: DenoiserSize): Graph;
  /** Features [batch, ·] of a timestep. */
  timeFeatures(timestep: number, batch: number): Tensor;
  /** What the request tells it besides the text, the same at every step. */
  steady(request: Request, batch: number): Feeds;
  /** Attention heads of the block of that tap name; 0 where there is no such block. */
  headsOf(block: string): number;
}

export interface TextEncoder {
  /** Its folder, for messages. */
  readonly name: string;
  readonly store: TensorStore;
  /** Its shape, as its config.json says it. */
  readonly config: object;
  readonly tokenizer: Tokenizer;
  /** Sequences that a prompt may take; what is beyond is cut off. */
  readonly mostChunks: number;
  /** Layers at its end that may be left out; null where none are. */
  readonly mostSkipped: number | null;
  /** The prompt as its tokenizer is given it, all words alike: a caption of a training. */
  prepare(prompt: string): string;
  /** The same with weights of words, where it reads them. */
  weigh(prompt: string): readonly Weighted[];
  /** Its outputs for that many sequences: `last`, or `hidden` and `projected`; without its last `skipped` layers. */
  graph(batch: number, skipped?: number): Graph;
  /** The same as graphs to be run in turn, each fed the `last` of the one before as `states`; null where it is one graph only. */
  pieces(batch: number): readonly Graph[] | null;
  feeds(encoded: readonly Encoded[]): Feeds;
  /** What tells text from padding to the denoiser [N, S]; null where it sees both. */
  mask(encoded: readonly Encoded[]): Tensor | null;
}
