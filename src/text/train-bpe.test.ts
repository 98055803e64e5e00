/** Byte pairs against the `tokenizers` library (test/golden/clip.json), and a learned tokenizer in use. */

import { describe, expect, it } from "vitest";
import { goldenJson } from "../../test/golden.ts";
import { loadTokenizer } from "./tokenize.ts";
import { learnMerges, trainBpe } from "./train-bpe.ts";

const texts = ["a red apple", "an apple", "a red heart", "Red hearts", "an orange cat"];

describe("merges", () => {
  it("are those of the tokenizers library while one pair is the most frequent", () => {
    const { words, merges } = goldenJson("clip.json").bpe;
    const repeated = Object.entries<number>(words).flatMap(([word, times]) =>
      Array<string>(times).fill(word),
    );
    expect(merges.length).toBeGreaterThan(20);
    expect(learnMerges(repeated, merges.length)).toEqual(merges);
  });

  it("do not rest on the order of the texts, and end where every word is one token", () => {
    const merges = learnMerges(texts, 1000);
    expect(learnMerges(texts.toReversed(), 1000)).toEqual(merges);
    expect(merges).toContain("a n</w>");
    expect(merges.length).toBeLessThan(40);
  });
});

describe("a learned tokenizer", () => {
  const files = trainBpe(texts, { vocabulary: 530, maxLength: 12 });
  const tokenizer = loadTokenizer(files, { where: "tokenizer", contextLength: 12, vocabSize: 530 });

  it("frames a text with the last two ids and pads with the end", () => {
    const { ids, length } = tokenizer.encode("a red");
    expect(ids).toHaveLength(12);
    expect([ids[0], ids[length - 1], ids[11]]).toEqual([528, 529, 529]);
  });

  it("reads any text, whatever it learned from", () => {
    const { ids } = tokenizer.encode("Ünï 🍎");
    expect(Math.max(...ids.slice(1, 9))).toBeLessThan(528);
  });

  it("has as many entries as it was asked for, or says how many there can be", () => {
    expect(Object.keys(JSON.parse(files["vocab.json"]))).toHaveLength(530);
    expect(() => trainBpe(texts, { vocabulary: 5000, maxLength: 12 })).toThrow(
      /^vocabulary: expected at most 5\d\d entries, which is all that these captions make, got 5000 \[E_TOKENIZER\]/,
    );
    expect(() => trainBpe(texts, { vocabulary: 100, maxLength: 12 })).toThrow(
      "vocabulary: expected at least 514 entries, which single bytes and the ends of a text take, got 100 [E_TOKENIZER]",
    );
  });
});
