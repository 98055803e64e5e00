/** Prompts into what the denoiser reads: token states, and for SDXL the pooled sentence and the size numbers. */

import { KoalaError } from "../core/errors.ts";
import { isFiniteTensor } from "../engine/non-finite.ts";
import type { Program } from "../engine/program.ts";
import { timestepEmbedding } from "../models/conditioning.ts";
import type { UNetConfig } from "../models/unet-config.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import type { TextEncoder } from "./networks.ts";
import type { Request } from "./request.ts";

/** Row-major, N texts. */
export interface Conditions {
  /** [N, S, E] */
  readonly text: Tensor;
  /** [N, P]; SDXL only. */
  readonly pooled: Tensor | null;
}

/** One text as one encoder sees it. */
export interface EncodedText {
  readonly last: Tensor;
  readonly hidden: Tensor;
  readonly projected: Tensor | null;
  /** What tells text from padding to the denoiser [N, S]; absent where it sees both. */
  readonly mask?: Tensor | null;
}

export interface EncodeOptions {
  /** Hears of text that did not fit. */
  warn(message: string): void;
  /** Names the first place where the encoder's numbers stop being finite. */
  blame(feeds: Readonly<Record<string, Tensor>>): Promise<string>;
}

/** `word` where it stands by itself, in any case: not "red" in "scared". Accents may be marks after a letter. */
const alone = (word: string): RegExp =>
  new RegExp(
    `(?<![\\p{L}\\p{M}\\p{N}])${word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")}(?![\\p{L}\\p{M}\\p{N}])`,
    "iu",
  );

/** Positions that `word`, or several in a row, has among the tokens of `prompt`; none where it is not in it as a whole. */
export function positionsOf(
  { prepare, tokenizer }: Pick<TextEncoder, "prepare" | "tokenizer">,
  prompt: string,
  word: string,
): number[] {
  const text = prepare(prompt);
  const sought = word.trim();
  const found = sought === "" ? null : alone(sought).exec(text);
  if (found === null) return [];
  const start = found.index;
  // what frames a text is counted in both lengths; CLIP's begin is position 0, and T5 has none
  const before = tokenizer.encode(text.slice(0, start).trimEnd()).length - 1;
  const after = tokenizer.encode(text.slice(0, start + found[0].length)).length - 1;
  return Array.from({ length: after - before }, (_, i) => before + i);
}

/** Characters of a prompt's lost end that a warning quotes: enough to see where the cut is. */
const quotedLength = 200;

const quoteStart = (text: string): string =>
  text.length <= quotedLength
    ? text
    : `${text.slice(0, quotedLength)}… (${text.length - quotedLength} characters more)`;

/**
 * Runs an encoder's program on `prompts`, of which the last is what to draw and one before it the negative prompt.
 * @throws KoalaError E_NAN with the tap where NaN or infinity first appears
 */
export async function encodeTexts(
  { name, tokenizer, ...encoder }: TextEncoder,
  program: Program,
  prompts: readonly string[],
  o: EncodeOptions,
): Promise<EncodedText> {
  const encoded = prompts.map((prompt) => tokenizer.encode(encoder.prepare(prompt)));
  for (const [i, { cut }] of encoded.entries()) {
    const which = i === prompts.length - 1 ? "prompt" : "negative prompt";
    if (cut !== "")
      o.warn(
        `the ${which} is longer than the ${tokenizer.maxLength} tokens that the text encoder reads; this was cut off: ${quoteStart(cut)}`,
      );
  }
  const feeds = encoder.feeds(encoded);
  const results = await program.run(feeds);
  if (!Object.values(results).every(isFiniteTensor)) {
    throw new KoalaError("E_NAN", {
      where: `${name}: ${await o.blame(feeds)}`,
      expected: "finite numbers",
      got: "NaN or infinity",
      hint: "The weights may be damaged, or stored in float16 where they need float32.",
    });
  }
  return {
    last: results.last as Tensor,
    hidden: results.hidden as Tensor,
    projected: results.projected ?? null,
    mask: encoder.mask(encoded),
  };
}

/** SDXL: the states before the last layer of all encoders, side by side, and the last encoder's projection. */
export function joinStates(encoded: readonly EncodedText[]): Conditions {
  const states = encoded.map((e) => e.hidden);
  const [N = 0, S = 0] = states[0]?.shape ?? [];
  const widths = states.map((s) => s.shape[2] ?? 0);
  const E = widths.reduce((a, b) => a + b, 0);
  const text = new Float32Array(N * S * E);
  let column = 0;
  for (const [i, state] of states.entries()) {
    const from = toFloat32(state);
    const width = widths[i] ?? 0;
    for (let row = 0; row < N * S; row++)
      text.set(from.subarray(row * width, (row + 1) * width), row * E + column);
    column += width;
  }
  return { text: float32([N, S, E], text), pooled: encoded.at(-1)?.projected ?? null };
}

/** The first `count` entries along the batch, or those from `start`. */
export function rows(t: Tensor, start: number, count: number): Tensor {
  const each = t.data.length / (t.shape[0] ?? 1);
  return float32([count, ...t.shape.slice(1)], toFloat32(t).slice(start * each, (start + count) * each));
}

/** Each entry along the batch of `count` by itself; what is the same for all of them goes with each. */
export const entries = (
  conditions: Readonly<Record<string, Tensor>>,
  count: number,
): Readonly<Record<string, Tensor>>[] =>
  Array.from({ length: count }, (_, i) =>
    Object.fromEntries(
      Object.entries(conditions).map(([name, t]) => [name, t.shape[0] === count ? rows(t, i, 1) : t]),
    ),
  );

export const zerosLike = (t: Tensor): Tensor => float32(t.shape, new Float32Array(t.data.length));

/** Both along the batch. */
export function stack(a: Tensor, b: Tensor): Tensor {
  const data = new Float32Array(a.data.length + b.data.length);
  data.set(toFloat32(a));
  data.set(toFloat32(b), a.data.length);
  return float32([(a.shape[0] ?? 0) + (b.shape[0] ?? 0), ...a.shape.slice(1)], data);
}

/** Features [batch, 6·F] of SDXL's size numbers: original height and width, crop top and left, target height and width. */
export function sizeFeatures(request: Request, c: UNetConfig, batch: number): Tensor | null {
  if (c.added === null) return null;
  const own = { width: request.width, height: request.height };
  const { width, height } = request.originalSize ?? own;
  const target = request.targetSize ?? own;
  const { left, top } = request.crop ?? { left: 0, top: 0 };
  const numbers = [height, width, top, left, target.height, target.width];
  const features = timestepEmbedding(
    Array.from({ length: batch }, () => numbers).flat(),
    c.added.sizeChannels,
    c.sinusoid,
  );
  return float32([batch, numbers.length * c.added.sizeChannels], features);
}
