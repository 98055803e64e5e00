/** What a caller may say of how a model is loaded and run; what to draw is the request. */

import type { Log } from "../core/log.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { LoraChoice } from "./loras.ts";
import type { Budget } from "./plan-request.ts";
import type { PrecisionName } from "./request.ts";
import type { Start } from "./start.ts";

export interface LoadOptions extends Budget {
  /** `auto` (the fastest that is there for a model of this size) or a name that `koala engines` lists. */
  readonly engine?: string;
  /**
   * Of requests that name none; absent: `f32`, and `bf16` for what a folder in int8 leaves in floats, where the engine has it. A
   * network that overflows in bf16 is done again in f32.
   */
  readonly precision?: PrecisionName;
  /** A folder to keep compiled programs in, for a quicker second start, where the engine can; absent: none are kept. */
  readonly cache?: string;
  /** Compute threads; absent: one a core that this process may use. */
  readonly threads?: number;
  /** Folder or hub id that completes a single checkpoint file: tokenizers, encoders, VAE, scheduler. */
  readonly base?: string;
  /** Another VAE than the model's own: its folder or hub id, or `tiny` for the usual one of TAESD's kind. */
  readonly otherVae?: string;
  /** Low-rank adapters that are added to the weights, each in its weight. */
  readonly loras?: readonly LoraChoice[];
  /** A model whose weights take less than this many bytes as float32 keeps all its programs between calls: 1 GiB. */
  readonly residentBytes?: number;
  readonly log?: Log;
  /** Never touch the network. */
  readonly isOffline?: boolean;
  readonly signal?: AbortSignal;
  /** Bytes of a download so far. */
  onProgress?(file: string, bytes: number, total: number): void;
}

export interface GenerateOptions extends Start {
  readonly signal?: AbortSignal;
  /** Whether an abort drops the pictures that are denoised and wait for the decoder, rather than that they are decoded first. */
  readonly dropsFinished?: boolean;
  /** Shown what the U-Net is fed at each step: what quantization calibrates on. */
  watch?(feeds: Readonly<Record<string, Tensor>>): void;
  /** Values inside the U-Net to be shown at each step, by the names that `taps()` lists. */
  readonly taps?: readonly string[];
  /**
   * Shown their values at each step, of runs that see the prompt: [unconditional, conditional] where guidance computes both at
   * once, the conditional alone where they take turns (large pictures on a CPU, an interval of guidance, a memory limit).
   */
  hear?(values: Readonly<Record<string, Tensor>>): void;
}
