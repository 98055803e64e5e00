import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { goldenJson } from "../../test/golden.ts";
import { readSentencePieces } from "./sentencepiece.ts";
import { loadTokenizer, type TokenizerFiles } from "./tokenize.ts";

const folder = new URL("../../test/golden/pixart/tokenizer/", import.meta.url);
const pieces = new Uint8Array(readFileSync(new URL("spiece.model", folder)));
const files: TokenizerFiles = {
  "spiece.model": pieces,
  "tokenizer_config.json": readFileSync(new URL("tokenizer_config.json", folder), "utf8"),
};
const options = { where: "tokenizer", contextLength: 120, vocabSize: 628 };

describe("a SentencePiece tokenizer", () => {
  const tokenizer = loadTokenizer(files, options);
  const { cases } = goldenJson("pixart/tokenizer.json") as { cases: { text: string; ids: number[] }[] };

  it.each(cases)("cuts $text as transformers' T5Tokenizer does", ({ text, ids }) => {
    const encoded = tokenizer.encode(text);
    expect(encoded.ids.slice(0, encoded.length)).toEqual(ids);
    expect(encoded.ids.slice(encoded.length).every((id) => id === 0)).toBe(true);
    expect(encoded.ids.length).toBe(120);
  });

  it("tells what did not fit", () => {
    const { length, cut } = tokenizer.encode("a red apple on a table ".repeat(40));
    expect(length).toBe(120);
    expect(cut.endsWith("table")).toBe(true);
  });

  it("has scores, an unknown piece and a normalizer", () => {
    const model = readSentencePieces(pieces, "spiece.model");
    expect([model.pieces.length, model.unknownId, model.isNormalized]).toEqual([500, 2, true]);
    expect(model.pieces.slice(0, 3)).toEqual([
      ["<pad>", 0],
      ["</s>", 0],
      ["<unk>", 0],
    ]);
    expect(model.pieces.at(-1)?.[1]).toBeLessThan(0);
  });
});

describe("bytes that are no unigram model are refused", () => {
  const read = (bytes: readonly number[]) => () =>
    readSentencePieces(Uint8Array.from(bytes), "tokenizer/spiece.model");

  it("nothing", () => {
    expect(read([])).toThrow(
      "tokenizer/spiece.model: expected a SentencePiece model of the kind unigram, got no pieces [E_TOKENIZER]",
    );
  });

  it("another kind", () => {
    // one piece "a"; trainer_spec with model_type 2, byte-pair encoding
    expect(read([0x0a, 3, 0x0a, 1, 0x61, 0x12, 2, 0x18, 2])).toThrow(
      "tokenizer/spiece.model: expected a SentencePiece model of the kind unigram, got kind 2 [E_TOKENIZER]",
    );
  });

  it("other bytes", () => {
    expect(read([0x0a, 0x7f])).toThrow(
      /^tokenizer\/spiece\.model: expected a SentencePiece model.*\[E_TOKENIZER\]$/,
    );
  });
});
