/**
 * A text that is longer than its encoder's context, in several sequences that are encoded one by one. They end where AUTOMATIC1111's
 * web UI ends them, after a comma (modules/sd_hijack_clip.py), else between words, as ComfyUI does (comfy/sd1_clip.py).
 */

import type { Weighted } from "./emphasis.ts";
import type { Encoded, Token, Tokenizer } from "./tokenize.ts";

/** One sequence of a text. */
export interface Chunk extends Encoded {
  /** Of each position [maxLength]; null where all are 1. */
  readonly weights: readonly number[] | null;
}

type WeightedToken = Token & { readonly weight: number };

/** Tokens that a full chunk gives up at most to end after a comma: the web UI's default. */
const COMMA_REACH = 20;
/** And to end between words: longer ones are torn (ComfyUI's `max_word_length`). */
const WORD_REACH = 8;

/** CLIP's vocabularies mark the last token of a word so. */
const endsWord = ({ spelling }: Token): boolean => spelling.endsWith("</w>");
const isComma = ({ spelling }: Token): boolean => spelling === ",</w>";

/** Tokens of a text, part by part. */
export const weightedTokens = (
  tokenizer: Pick<Tokenizer, "tokens">,
  parts: readonly Weighted[],
): WeightedToken[] =>
  parts.flatMap(({ text, weight }) => tokenizer.tokens(text).map((token) => ({ ...token, weight })));

/**
 * A text in at least one chunk and at most `most`; the last one's `cut` is what is beyond. With `most` 1 the ids are those of
 * `tokenizer.encode`.
 */
export function chunked(
  tokenizer: Pick<Tokenizer, "tokens" | "frame" | "room" | "start" | "maxLength">,
  parts: readonly Weighted[],
  most: number,
): Chunk[] {
  const tokens = weightedTokens(tokenizer, parts);
  const chunks: Chunk[] = [];
  let start = 0;
  do {
    const isLast = chunks.length === most - 1;
    const end = isLast ? tokens.length : chunkEnd(tokens, start, tokenizer.room);
    const own = tokens.slice(start, end);
    chunks.push({ ...tokenizer.frame(own), weights: weightsOf(own, tokenizer) });
    start = end;
  } while (start < tokens.length);
  return chunks;
}

/** The chunk of a text without words. */
export const emptyChunk = (tokenizer: Pick<Tokenizer, "frame">): Chunk => ({
  ...tokenizer.frame([]),
  weights: null,
});

/** Where the chunk ends that begins with token `start`. */
function chunkEnd(tokens: readonly Token[], start: number, room: number): number {
  const full = start + room;
  if (full >= tokens.length) return tokens.length;
  const after = (isEnd: (token: Token) => boolean, reach: number): number | null => {
    const from = Math.max(start, full - reach);
    const last = tokens.slice(from, full).findLastIndex(isEnd);
    return last === -1 ? null : from + last + 1;
  };
  return after(isComma, COMMA_REACH) ?? after(endsWord, WORD_REACH) ?? full;
}

function weightsOf(
  own: readonly WeightedToken[],
  { start, room, maxLength }: Pick<Tokenizer, "start" | "room" | "maxLength">,
): number[] | null {
  if (own.every(({ weight }) => weight === 1)) return null;
  const weights = new Array<number>(maxLength).fill(1);
  for (const [i, { weight }] of own.slice(0, room).entries()) weights[start + i] = weight;
  return weights;
}
