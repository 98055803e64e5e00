/**
 * Learns a byte pair encoding in CLIP's format from texts: the most frequent pair of tokens within words becomes a token,
 * again and again. What a word is, is asked of a tokenizer without merges, so that texts are later read as they were here.
 *
 * Source: Sennrich et al. 2016, arXiv:1508.07909, section 3.2. The merges are those of the `tokenizers` library's
 * `BpeTrainer` while one pair is the most frequent; of equals, the first in the order of their code units is taken.
 */

import { Tokenizer as Library } from "@huggingface/tokenizers";
import { check } from "../core/assert.ts";
import { clipDefinition, clipSpecials, type TokenizerFiles } from "./tokenize.ts";

export interface BpeOptions {
  /** Entries of the vocabulary: 512 of single bytes, those that merges make, and the two that open and close a text. */
  readonly vocabulary: number;
  /** Longest text in tokens, with the two that open and close it. */
  readonly maxLength: number;
}

/** Contents by file name, as transformers' `CLIPTokenizer` reads them. */
export type BpeFiles = Required<Omit<TokenizerFiles, "tokenizer.json" | "spiece.model">>;

/** Marks the last token of a word. */
const END = "</w>";

/** Between two words of a text that is spelt as tokens with blanks between them. */
const endOfWord = new RegExp(`(?<=${END}) `);

/** The letters of bytes in CLIP's order, printable ones as themselves: `bytes_to_unicode` of GPT-2's encoder.py. */
function byteLetters(): string[] {
  const range = (first: number, last: number): number[] =>
    Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const printable = [...range(33, 126), ...range(161, 172), ...range(174, 255)];
  const others = range(0, 255 - printable.length).map((i) => 256 + i);
  return [...printable, ...others].map((code) => String.fromCodePoint(code));
}

/** Single bytes within a word, and at its end. */
function byteTokens(): string[] {
  const letters = byteLetters();
  return [...letters, ...letters.map((letter) => letter + END)];
}

/** The words of texts as single-byte tokens, with how often each occurs. */
function wordsOf(texts: Iterable<string>): [word: readonly string[], times: number][] {
  const tokens = [...byteTokens(), clipSpecials.bos_token, clipSpecials.eos_token];
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const library = new Library({ ...clipDefinition(vocab, [], clipSpecials), added_tokens: [] }, {});
  const counts = new Map<string, number>();
  for (const text of texts) {
    const spelt = library.encode(text, { add_special_tokens: false }).tokens.join(" ");
    for (const word of spelt.split(endOfWord)) if (word !== "") counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return [...counts].map(([word, times]) => [word.split(" "), times]);
}

/** Pairs within words, `left right`: how often each occurs, and in which words. */
class Pairs {
  readonly #counts = new Map<string, number>();
  readonly #words = new Map<string, Set<number>>();
  /** Pairs of a count. */
  readonly #ranks = new Map<number, Set<string>>();
  #most = 0;

  /** Counts the pairs of word number `index` `times` more; below 0: fewer. */
  add(word: readonly string[], index: number, times: number): void {
    for (let i = 1; i < word.length; i++) {
      const pair = `${word[i - 1]} ${word[i]}`;
      const [before, after] = [this.#counts.get(pair) ?? 0, (this.#counts.get(pair) ?? 0) + times];
      this.#counts.set(pair, after);
      this.#ranks.get(before)?.delete(pair);
      sets(this.#ranks, after).add(pair);
      sets(this.#words, pair).add(index);
      this.#most = Math.max(this.#most, after);
    }
  }

  /** The most frequent pair, of equals the first; null where none occurs. */
  best(): string | null {
    while (this.#most > 0 && (this.#ranks.get(this.#most)?.size ?? 0) === 0) this.#most--;
    if (this.#most === 0) return null;
    return [...sets(this.#ranks, this.#most)].reduce((a, b) => (b < a ? b : a));
  }

  /** Words that have, or had, the pair. */
  wordsOf(pair: string): number[] {
    return [...sets(this.#words, pair)];
  }
}

/** The set of a key, made where there is none. */
function sets<K, V>(map: Map<K, Set<V>>, key: K): Set<V> {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = new Set<V>();
  map.set(key, made);
  return made;
}

/** `word` with every occurrence of the pair joined, from the left. */
function joined(word: readonly string[], pair: string): string[] {
  const out: string[] = [];
  for (const token of word) {
    const before = out.at(-1);
    if (before !== undefined && `${before} ${token}` === pair) out.splice(-1, 1, before + token);
    else out.push(token);
  }
  return out;
}

/**
 * Merges in the order in which they are learned, each as merges.txt writes it, until they make `count` new tokens: two
 * merges may make the same one. Fewer where the texts have no more.
 */
export function learnMerges(texts: Iterable<string>, count: number): string[] {
  const words = wordsOf(texts);
  const pairs = new Pairs();
  for (const [index, [word, times]] of words.entries()) pairs.add(word, index, times);
  const merges: string[] = [];
  const made = new Set<string>();
  for (let pair = pairs.best(); pair !== null && made.size < count; pair = pairs.best()) {
    merges.push(pair);
    made.add(pair.replace(" ", ""));
    for (const index of pairs.wordsOf(pair)) {
      const entry = words[index] as [readonly string[], number];
      const [word, times] = entry;
      pairs.add(word, index, -times);
      entry[0] = joined(word, pair);
      pairs.add(entry[0], index, times);
    }
  }
  return merges;
}

/**
 * A tokenizer of exactly that many entries, learned from `texts`.
 * @throws KoalaError E_TOKENIZER when the texts do not make as many, or single bytes take more
 */
export function trainBpe(texts: Iterable<string>, o: BpeOptions): BpeFiles {
  const alphabet = byteTokens();
  const { bos_token, eos_token } = clipSpecials as Record<string, string>;
  const least = alphabet.length + 2;
  check(o.vocabulary >= least, "E_TOKENIZER", () => ({
    where: "vocabulary",
    expected: `at least ${least} entries, which single bytes and the ends of a text take`,
    got: `${o.vocabulary}`,
  }));
  const merges = learnMerges(texts, o.vocabulary - least);
  const made = new Set(merges.map((pair) => pair.replace(" ", "")));
  const entries = [...alphabet, ...made, bos_token, eos_token];
  check(entries.length === o.vocabulary, "E_TOKENIZER", () => ({
    where: "vocabulary",
    expected: `at most ${entries.length} entries, which is all that these captions make`,
    got: `${o.vocabulary}`,
  }));
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  return {
    "vocab.json": JSON.stringify(Object.fromEntries(entries.map((token, id) => [token, id]))),
    "merges.txt": `#version: 0.2\n${merges.map((pair) => `${pair}\n`).join("")}`,
    "tokenizer_config.json": json({
      ...{ tokenizer_class: "CLIPTokenizer", model_max_length: o.maxLength },
      ...clipSpecials,
    }),
    "special_tokens_map.json": json(clipSpecials),
  };
}
