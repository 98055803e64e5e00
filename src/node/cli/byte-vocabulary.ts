/**
 * Tokenizers that have learnt nothing. In CLIP's format every byte is a token, alone or at a word's end, and nothing
 * merges; in T5's every printable letter of ASCII is one. For models with random weights, whose networks have learnt nothing either.
 * The letters that stand for bytes and the places of the special tokens are those of OpenAI's CLIP, `simple_tokenizer.py`.
 */

import { t5Definition } from "../../text/sentencepiece.ts";

/** CLIP's own entries, of which this vocabulary fills the first 512 and the last two. */
const startToken = 49406;
const endToken = 49407;

/** The letter for each byte, in the vocabulary's order: printable Latin-1 first, the others as U+0100 and on. */
function byteLetters(): string[] {
  const range = (first: string, last: string): number[] => {
    const from = first.codePointAt(0) ?? 0;
    return Array.from({ length: (last.codePointAt(0) ?? 0) - from + 1 }, (_, i) => from + i);
  };
  const printable = [...range("!", "~"), ...range("¡", "¬"), ...range("®", "ÿ")];
  const hidden = Array.from({ length: 256 - printable.length }, (_, i) => 256 + i);
  return [...printable, ...hidden].map((code) => String.fromCodePoint(code));
}

/** `vocab.json` and `merges.txt`. */
export function byteVocabulary(): { vocab: Readonly<Record<string, number>>; merges: string } {
  const letters = byteLetters();
  const tokens = [...letters, ...letters.map((letter) => `${letter}</w>`)];
  return {
    vocab: {
      ...Object.fromEntries(tokens.map((token, id) => [token, id])),
      "<|startoftext|>": startToken,
      "<|endoftext|>": endToken,
    },
    merges: "#version: 0.2\n",
  };
}

/** `tokenizer.json` of T5's kind: padding 0, end 1, unknown 2, as in every T5. */
export function letterTokenizer(): Readonly<Record<string, unknown>> {
  const letters = Array.from({ length: 0x7e - 0x20 }, (_, i) => String.fromCharCode(0x21 + i));
  const specials = ["<pad>", "</s>", "<unk>"];
  const pieces = [...specials, "▁", ...letters].map(
    (piece, id) => [piece, id < specials.length ? 0 : -1] as const,
  );
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return {
    ...t5Definition({ pieces, unknownId: 2, isNormalized: false }, 0, { token: "</s>", id: 1 }),
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, id) => ({ id, content, ...flags })),
  };
}
