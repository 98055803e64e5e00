/**
 * The order in which a request's pictures are denoised and decoded: each at once where both programs are in memory, else all are
 * denoised before the decoder is loaded. A picture that is denoised is not lost by what ends the run after it.
 */

import type { Tensor } from "../tensor/tensor.ts";
import type { PipelineEvent } from "./events.ts";
import type { Request } from "./request.ts";
import type { Starter } from "./start.ts";

/** One picture of a request. */
export interface PictureRun {
  readonly request: Request;
  readonly index: number;
  /** For each run of a step. */
  readonly conditions: readonly Readonly<Record<string, Tensor>>[];
  readonly starter: Starter;
}

export interface PicturesOptions {
  readonly count: number;
  /** Whether denoiser and decoder are in memory together. */
  readonly isTogether: boolean;
  readonly signal?: AbortSignal;
  /** Whether an abort drops pictures that are denoised and not decoded. */
  readonly dropsFinished?: boolean;
  /** Tells of a picture's steps and gives its latents. @throws the signal's reason */
  denoise(index: number): AsyncGenerator<PipelineEvent, Tensor>;
  /** Makes room for the decoder. */
  freeDenoiser(): Promise<void>;
  /** Tells of the picture. `signal` is for what takes longer than a step. */
  decode(index: number, latents: Tensor, signal: AbortSignal | undefined): AsyncGenerator<PipelineEvent>;
}

/**
 * What `denoise` and `decode` tell. What denoising throws goes on after the pictures before it are decoded: one whose decoder fails
 * too is the end of that, without a word of its own. Who leaves the loop waits for none of them.
 * @throws what `denoise` and `decode` throw
 */
export async function* pictures(o: PicturesOptions): AsyncGenerator<PipelineEvent> {
  const stop = o.dropsFinished === true ? o.signal : undefined; // heard by what is left once a picture is denoised
  const decoding: PipelineEvent = { type: "stage", stage: "decode", detail: "VAE" };
  if (o.isTogether) {
    for (let index = 0; index < o.count; index++) {
      const latents = yield* o.denoise(index);
      stop?.throwIfAborted();
      yield decoding;
      yield* o.decode(index, latents, stop);
    }
    return;
  }
  const finished: Tensor[] = [];
  let failure: { readonly error: unknown } | null = null;
  try {
    while (finished.length < o.count) finished.push(yield* o.denoise(finished.length));
  } catch (error) {
    if (finished.length === 0 || stop?.aborted === true) throw error;
    failure = { error };
  }
  try {
    await o.freeDenoiser();
    yield decoding;
    for (const [index, latents] of finished.entries()) {
      stop?.throwIfAborted();
      yield* o.decode(index, latents, stop);
    }
  } catch (error) {
    throw failure === null ? error : failure.error;
  }
  if (failure !== null) throw failure.error;
}
