/** Where a long text is cut into sequences. */

import { describe, expect, it } from "vitest";
import { chunked } from "./chunks.ts";
import { readEmphasis } from "./emphasis.ts";
import type { Token, Tokenizer } from "./tokenize.ts";

/** A word or sign a token, a long word one for every four letters; begin -1, end -2, padding -3; ids count the tokens of a text. */
function tokenizerOf(room: number): Tokenizer {
  const maxLength = room + 2;
  const tokens = (text: string): Token[] =>
    (text.match(/,|[^\s,]+/g) ?? [])
      .flatMap((word) =>
        word
          .replace(/.{4}(?=.)/g, "$& ")
          .split(" ")
          .map((part, i, all) => part + (i === all.length - 1 ? "</w>" : "")),
      )
      .map((spelling, id) => ({ id, spelling }));
  const frame: Tokenizer["frame"] = (own) => {
    const ids = [-1, ...own.slice(0, room).map(({ id }) => id), -2];
    const cut = own
      .slice(room)
      .map(({ id }) => id)
      .join(" ");
    return { ids: [...ids, ...new Array<number>(maxLength - ids.length).fill(-3)], length: ids.length, cut };
  };
  return { maxLength, room, start: 1, tokens, frame, encode: (text) => frame(tokens(text)) };
}

const words = (count: number): string => Array.from({ length: count }, (_, i) => `w${i % 10}`).join(" ");
/** Tokens of each chunk without begin and end. */
const lengths = (text: string, room: number, most = 16): number[] =>
  chunked(tokenizerOf(room), [{ text, weight: 1 }], most).map(({ length }) => length - 2);

describe("a text", () => {
  it("without words is one chunk of begin and end", () => {
    expect(chunked(tokenizerOf(3), [], 16)).toEqual([
      { ids: [-1, -2, -3, -3, -3], length: 2, cut: "", weights: null },
    ]);
  });

  it("that fits is one chunk, the one that the tokenizer gives", () => {
    const tokenizer = tokenizerOf(75);
    expect(chunked(tokenizer, [{ text: words(75), weight: 1 }], 16)).toEqual([
      { ...tokenizer.encode(words(75)), weights: null },
    ]);
  });

  it("that does not ends its chunks after a comma of the last twenty tokens", () => {
    expect(lengths(`${words(60)}, ${words(30)}`, 75)).toEqual([61, 30]);
    expect(lengths(`${words(55)}, ${words(30)}`, 75)).toEqual([56, 30]);
    expect(lengths(`${words(54)}, ${words(30)}`, 75)).toEqual([75, 10]);
    expect(lengths(`${words(75)}, ${words(3)}`, 75)).toEqual([75, 4]);
  });

  it("without one ends them between words that are not too long", () => {
    expect(lengths(`${words(70)} ${"x".repeat(28)} ${words(2)}`, 75)).toEqual([70, 9]);
    expect(lengths(`${words(60)} ${"x".repeat(80)}`, 75)).toEqual([75, 5]);
  });

  it("in more chunks than there may be is cut off", () => {
    const chunks = chunked(tokenizerOf(5), [{ text: words(14), weight: 1 }], 2);
    expect(chunks.map(({ cut }) => cut)).toEqual(["", "10 11 12 13"]);
    expect(chunked(tokenizerOf(5), [{ text: "w0 w1 w2, w3 w4", weight: 1 }], 1)).toEqual([
      { ...tokenizerOf(5).encode("w0 w1 w2, w3 w4"), weights: null },
    ]);
  });
});

it("weights stand where the tokens of their words do, chunk by chunk", () => {
  const chunks = chunked(tokenizerOf(3), readEmphasis("a b (c d:1.5) e f g"), 16);
  expect(chunks.map(({ weights }) => weights)).toEqual([[1, 1, 1, 1.5, 1], [1, 1.5, 1, 1, 1], null]);
});
