/** Both prompts through all text encoders, one after another: what the denoiser is fed at every step. */

import type { Program } from "../engine/program.ts";
import type { Value } from "../graph/op.ts";
import type { TensorStore } from "../tensor/stored.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Conditions, type EncodedText, joinStates, rows, stack, zerosLike } from "./conditions.ts";
import { isGuided } from "./denoise.ts";
import { encodeTexts } from "./encode-texts.ts";
import type { Model } from "./model.ts";
import type { TextEncoder } from "./networks.ts";
import { encodersFor, hasUnreadWeights, hasZeros, promptsOf, readTexts } from "./reading.ts";
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
  model: Model,
  o: EncodePromptsOptions,
): Promise<Record<string, Tensor>> {
  const { isXL, denoiser } = model;
  const prompts = promptsOf(request, model);
  const count = prompts.length;
  const read = readTexts(request, model);

  const encoded: EncodedText[] = [];
  for (const [i, part] of encodersFor(request, model.texts).entries()) {
    o.signal?.throwIfAborted();
    if (prompts.some((prompt) => hasUnreadWeights(part, prompt)))
      o.warn("weights of words have no effect on this model, whose text encoder reads them as words");
    const stage = o.stages[i] as Stage;
    const outputs = part.graph(count);
    const program = await stage.use(`${[count, request.clipSkip ?? 0]}`, () => o.compile(part, count));
    encoded.push(
      await encodeTexts(part, program, read[i] ?? [], {
        ...(o.signal === undefined ? {} : { signal: o.signal }),
        warn: o.warn,
        blame: (feeds) => o.blame(stage, outputs, feeds, part.store),
      }),
    );
    if (!o.staysLoaded) await stage.free();
  }
  const states: Conditions = isXL
    ? joinStates(encoded)
    : { text: (encoded[0] as EncodedText).states, pooled: null };
  const isZero = hasZeros(request, model);
  const whole = (t: Tensor): Tensor => (isZero ? stack(zerosLike(rows(t, 0, 1)), t) : t);
  const mask = encoded[0]?.mask ?? null;
  return {
    text: whole(states.text),
    ...(states.pooled === null ? {} : { pooled: whole(states.pooled) }),
    ...(mask === null ? {} : { mask }),
    ...denoiser.steady(request, isGuided(request, denoiser) ? 2 : 1),
  };
}
