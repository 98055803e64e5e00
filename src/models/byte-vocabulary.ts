/**
 * The alphabet of CLIP's tokenizer, without the merges learned from text: for folders made from nothing.
 * Source: Radford et al. 2019, GPT-2's `bytes_to_unicode`, and the order that CLIP's `SimpleTokenizer` gives its entries.
 */

import type { JsonObject } from "./config.ts";

export const START = "<|startoftext|>";
export const END = "<|endoftext|>";

/** Every byte as a visible character: itself where it is one, else the next free code point from 256 on; visible ones first. */
function visibleBytes(): string[] {
  const isVisible = (b: number) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  const bytes = Array.from({ length: 256 }, (_, b) => b);
  const hidden = bytes.filter((b) => !isVisible(b)).map((_, i) => 256 + i);
  return [...bytes.filter(isVisible), ...hidden].map((code) => String.fromCodePoint(code));
}

/**
 * `vocab.json` for a table of `entries` rows, at least 514: 256 bytes, the same at the end of a word, and, in the last two
 * rows as in CLIP's own, the tokens that open and close a text.
 */
export function byteVocabulary(entries: number): JsonObject {
  const characters = visibleBytes();
  const tokens = [...characters, ...characters.map((c) => `${c}</w>`)];
  return {
    ...Object.fromEntries(tokens.map((token, id) => [token, id])),
    [START]: entries - 2,
    [END]: entries - 1,
  };
}
