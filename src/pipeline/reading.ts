/** A request's texts as the model's encoders read them: which there are, in how many chunks, and where a word stands in them. */

import { check } from "../core/assert.ts";
import { quoted } from "../core/quoted.ts";
import { type Chunk, chunked, emptyChunk, weightedTokens } from "../text/chunks.ts";
import { readEmphasis, type Weighted } from "../text/emphasis.ts";
import { isGuided } from "./denoise.ts";
import type { Model } from "./model.ts";
import type { Denoiser, TextEncoder } from "./networks.ts";
import type { Request } from "./request.ts";

type Reader = Pick<TextEncoder, "tokenizer" | "weigh" | "mostChunks">;
/** What of a model says whether there is a negative prompt. */
interface Prompted extends Pick<Model, "isXL" | "hasZeroForEmpty"> {
  readonly denoiser: Pick<Denoiser, "isToldGuidance">;
}
interface Readers extends Prompted {
  readonly texts: readonly Reader[];
}

/** What is beyond is no weight, as a rule, but a time of day or a ratio. */
const mostWeight = 10;

/** Whether zeros stand for the negative prompt, as SDXL has it where none is given. */
export const hasZeros = (request: Request, { isXL, hasZeroForEmpty, denoiser }: Prompted): boolean =>
  isGuided(request, denoiser) && isXL && request.negativePrompt === undefined && hasZeroForEmpty;

/** The texts that are encoded: what to draw is the last, before it stands the negative prompt. */
export const promptsOf = (request: Request, model: Prompted): string[] =>
  isGuided(request, model.denoiser) && !hasZeros(request, model)
    ? [request.negativePrompt ?? "", request.prompt]
    : [request.prompt];

/** By encoder and by text, all of as many chunks: what is shorter is filled with those of the empty text, as the web UI does. */
export function readTexts(request: Request, model: Readers): Chunk[][][] {
  const prompts = promptsOf(request, model);
  const read = model.texts.map(({ tokenizer, weigh, mostChunks }) =>
    prompts.map((prompt) => chunked(tokenizer, weigh(prompt), mostChunks)),
  );
  const most = Math.max(...read.flat().map((chunks) => chunks.length));
  return read.map((texts, i) => {
    const { tokenizer } = model.texts[i] as Reader;
    return texts.map((chunks) => Array.from({ length: most }, (_, c) => chunks[c] ?? emptyChunk(tokenizer)));
  });
}

/** Tokens of each text that the denoiser attends to. */
export function textTokens(request: Request, model: Readers): number {
  const chunks = readTexts(request, model)[0]?.[0]?.length ?? 1;
  return chunks * (model.texts[0]?.tokenizer.maxLength ?? 1);
}

/** The encoders without the layers that the request leaves out. */
export const encodersFor = (
  { clipSkip = 0 }: Pick<Request, "clipSkip">,
  texts: readonly TextEncoder[],
): TextEncoder[] => texts.map((text) => ({ ...text, graph: (batch) => text.graph(batch, clipSkip) }));

/** @throws KoalaError E_REQUEST for weights out of bounds, or more layers left out than an encoder can spare */
export function checkReadable(
  request: Request,
  texts: readonly Pick<TextEncoder, "weigh" | "mostSkipped">[],
): void {
  for (const field of ["prompt", "negativePrompt"] as const)
    for (const { text, weight } of texts.flatMap(({ weigh }) => weigh(request[field] ?? "")))
      check(weight >= 0 && weight <= mostWeight, "E_REQUEST", () => ({
        where: field,
        expected: `weights of words from 0 to ${mostWeight}`,
        got: `${weight} of ${quoted(text)}`,
        hint: String.raw`Where no weight is meant, as in (at 12\:30), put a backslash before the colon.`,
      }));
  const { clipSkip = 0 } = request;
  const most = Math.min(...texts.map(({ mostSkipped }) => mostSkipped ?? clipSkip));
  check(clipSkip <= most, "E_REQUEST", () => ({
    where: "clipSkip",
    expected: `at most ${most} of the ${most + 1} layers that a text encoder of this model has`,
    got: `${clipSkip}`,
  }));
}

/** Whether a text has weights that the encoder takes for words. */
export const hasUnreadWeights = ({ weigh }: Pick<TextEncoder, "weigh">, prompt: string): boolean => {
  const isWeighted = (parts: readonly Weighted[]): boolean => parts.some(({ weight }) => weight !== 1);
  return isWeighted(readEmphasis(prompt)) && !isWeighted(weigh(prompt));
};

/** `word` where it stands by itself, in any case: not "red" in "scared". Accents may be marks after a letter. */
const alone = (word: string): RegExp =>
  new RegExp(
    `(?<![\\p{L}\\p{M}\\p{N}])${word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")}(?![\\p{L}\\p{M}\\p{N}])`,
    "iu",
  );

/** The parts up to a length in characters, without spaces at their ends. */
function upTo(parts: readonly Weighted[], length: number): Weighted[] {
  let left = length;
  return parts.map(({ text, weight }) => {
    const kept = text.slice(0, Math.max(left, 0)).trimEnd();
    left -= text.length;
    return { text: kept, weight };
  });
}

/** Positions that `word`, or several in a row, has among the tokens of `prompt`; none where it is not in it as a whole. */
export function positionsOf(
  { tokenizer, weigh, mostChunks }: Reader,
  prompt: string,
  word: string,
): number[] {
  const parts = weigh(prompt);
  const text = parts.map((part) => part.text).join("");
  const sought = word.trim();
  const found = sought === "" ? null : alone(sought).exec(text);
  if (found === null) return [];
  const { maxLength, room, start } = tokenizer;
  const framing = maxLength - room;
  const places = chunked(tokenizer, parts, mostChunks).flatMap(({ length }, c) =>
    Array.from({ length: length - framing }, (_, i) => c * maxLength + start + i),
  );
  const tokensUpTo = (end: number): number => weightedTokens(tokenizer, upTo(parts, end)).length;
  return places.slice(tokensUpTo(found.index), tokensUpTo(found.index + found[0].length));
}
