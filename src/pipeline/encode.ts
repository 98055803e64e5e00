/** Both prompts through all text encoders, one after another: what the denoiser is fed at every step. */

import type { Program } from "../engine/program.ts";
import type { Value } from "../graph/op.ts";
import type { TensorStore } from "../tensor/stored.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  type Conditions,
  type EncodedText,
  encodeTexts,
  joinStates,
  rows,
  stack,
  zerosLike,
} from "./conditions.ts";
import { isGuided } from "./denoise.ts";
import type { Model } from "./model.ts";
import type { TextEncoder } from "./networks.ts";
import type { Request } from "./request.ts";
import type { Stage } from "./stage.ts";

type Feeds = Readonly<Record<string, Tensor>>;

export interface EncodePromptsOptions {
  /** Of the encoders, in their order. */
  readonly stages: readonly Stage[];
  /** Whether encoders stay loaded; else each makes room for the next. */
  readonly staysLoaded: boolean;
  readonly signal?: AbortSignal;
  /** An encoder for so many texts. */
  compile(part: TextEncoder, batch: number): Promise<Program>;
  /** Hears of text that did not fit. */
  warn(message: string): void;
  /** Names the first place where a stage's numbers stop being finite. */
  blame(
    stage: Stage,
    outputs: Readonly<Record<string, Value>>,
    feeds: Feeds,
    store: TensorStore,
  ): Promise<string>;
}

/**
 * What stays the same at every step, along the batch as [unconditional, conditional] where guided. An abort is heard before each
 * encoder is loaded, and before it runs.
 * @throws KoalaError E_NAN, E_ENGINE; the signal's reason
 */
export async function encodePrompts(
  request: Request,
  { isXL, texts, hasZeroForEmpty, denoiser }: Model,
  o: EncodePromptsOptions,
): Promise<Record<string, Tensor>> {
  const guided = isGuided(request, denoiser);
  const isZero = isXL && request.negativePrompt === undefined && hasZeroForEmpty;
  const prompts = guided && !isZero ? [request.negativePrompt ?? "", request.prompt] : [request.prompt];

  const encoded: EncodedText[] = [];
  for (const [i, part] of texts.entries()) {
    o.signal?.throwIfAborted();
    const stage = o.stages[i] as Stage;
    const outputs = part.graph(prompts.length);
    const program = await stage.use(`${prompts.length}`, () => o.compile(part, prompts.length));
    o.signal?.throwIfAborted();
    encoded.push(
      await encodeTexts(part, program, prompts, {
        warn: o.warn,
        blame: (feeds) => o.blame(stage, outputs, feeds, part.store),
      }),
    );
    if (!o.staysLoaded) await stage.free();
  }
  const states: Conditions = isXL
    ? joinStates(encoded)
    : { text: (encoded[0] as EncodedText).last as Tensor, pooled: null };
  const whole = (t: Tensor): Tensor => (guided && isZero ? stack(zerosLike(rows(t, 0, 1)), t) : t);
  const mask = encoded[0]?.mask ?? null;
  return {
    text: whole(states.text),
    ...(states.pooled === null ? {} : { pooled: whole(states.pooled) }),
    ...(mask === null ? {} : { mask }),
    ...denoiser.steady(request, guided ? 2 : 1),
  };
}
