/** What a model's encoders are given of a request, and where a word stands in it. */

import { describe, expect, it } from "vitest";
import { readEmphasis, type Weighted } from "../text/emphasis.ts";
import type { Token, Tokenizer } from "../text/tokenize.ts";
import { checkReadable, hasUnreadWeights, positionsOf, promptsOf, readTexts, textTokens } from "./reading.ts";
import { type RequestInput, resolveRequest } from "./request.ts";

/** As CLIP counts: a token a word or sign, and one at either end. */
const tokenizer: Tokenizer = {
  ...{ maxLength: 77, room: 75, start: 1 },
  tokens: (text): Token[] =>
    (text.match(/[\p{L}\p{M}\p{N}]+|[^\s\p{L}\p{M}\p{N}]+/gu) ?? []).map((word, id) => ({
      id,
      spelling: `${word}</w>`,
    })),
  frame: (tokens) => ({
    ids: tokens.map(({ id }) => id),
    length: Math.min(tokens.length, 75) + 2,
    cut: `${Math.max(tokens.length - 75, 0)} tokens`,
  }),
  encode: (text) => tokenizer.frame(tokenizer.tokens(text)),
};
const clip = { tokenizer, weigh: readEmphasis, mostChunks: 16, mostSkipped: 2 };
const t5 = {
  ...{ tokenizer, mostChunks: 1, mostSkipped: null },
  weigh: (text: string): Weighted[] => [{ text, weight: 1 }],
};

const defaults = { steps: 1, guidance: 5, width: 64, height: 40, scheduler: "euler", spacing: "trailing" };
const request = (o: RequestInput) => resolveRequest(o, defaults);
const sd = { isXL: false, hasZeroForEmpty: true, denoiser: { isToldGuidance: false }, texts: [clip] };
const xl = { ...sd, isXL: true, texts: [clip, clip] };
const words = (count: number): string => "word ".repeat(count);

describe("the texts that are encoded", () => {
  it.each([
    ["SD's", sd, { prompt: "a" }, ["", "a"]],
    ["SD's without guidance", sd, { prompt: "a", guidance: 1, negativePrompt: "b" }, ["a"]],
    ["SDXL's", xl, { prompt: "a" }, ["a"]],
    ["SDXL's with a negative prompt", xl, { prompt: "a", negativePrompt: "" }, ["", "a"]],
    [
      "a model's that is told its guidance",
      { ...sd, denoiser: { isToldGuidance: true } },
      { prompt: "a" },
      ["a"],
    ],
  ])("are %s prompt, and the negative one before it where that is read", (_, model, said, prompts) => {
    expect(promptsOf(request(said), model)).toEqual(prompts);
  });

  it("have as many chunks as the longest of them, on every encoder", () => {
    const said = request({ prompt: words(10), negativePrompt: words(160) });
    const lengths = readTexts(said, xl).map((texts) =>
      texts.map((chunks) => chunks.map(({ length }) => length)),
    );
    const both = [
      [77, 77, 12],
      [12, 2, 2],
    ];
    expect(lengths).toEqual([both, both]);
    expect(textTokens(said, xl)).toBe(3 * 77);
    expect(textTokens(request({ prompt: words(10), negativePrompt: words(160), guidance: 1 }), xl)).toBe(77);
  });

  it("are cut off after sixteen, and T5's after one", () => {
    const [, [prompt] = []] = [0, readTexts(request({ prompt: words(1500), guidance: 1 }), sd)[0]];
    expect(prompt?.length).toBe(16);
    expect(prompt?.at(-1)?.cut).toBe("300 tokens");
    const only = readTexts(request({ prompt: words(80), guidance: 1 }), { ...sd, texts: [t5] });
    expect(only[0]?.[0]?.map(({ cut }) => cut)).toEqual(["5 tokens"]);
  });
});

describe("what cannot be read", () => {
  const check =
    (o: RequestInput, texts = [clip]) =>
    () =>
      checkReadable(request(o), texts);

  it("are weights out of bounds", () => {
    expect(check({ prompt: "(a:0) (b:10)" })).not.toThrow();
    expect(check({ prompt: "(a:99)" })).toThrow(
      'prompt: expected weights of words from 0 to 10, got 99 of "a" [E_REQUEST]',
    );
    expect(check({ prompt: "((a:4):4)" })).toThrow('got 16 of "a" [E_REQUEST]');
    expect(check({ prompt: "a", negativePrompt: "at (12:30), (b:-1)" })).toThrow(
      'negativePrompt: expected weights of words from 0 to 10, got 30 of "12" [E_REQUEST]',
    );
    expect(() => checkReadable(request({ prompt: "(a:99)" }), [t5])).not.toThrow();
  });

  it("is a tower without layers", () => {
    expect(check({ prompt: "a", clipSkip: 2 })).not.toThrow();
    expect(check({ prompt: "a", clipSkip: 3 }, [{ ...clip, mostSkipped: 11 }, clip])).toThrow(
      "clipSkip: expected at most 2 of the 3 layers that a text encoder of this model has, got 3 [E_REQUEST]",
    );
    expect(() => checkReadable(request({ prompt: "a", clipSkip: 3 }), [t5])).not.toThrow();
  });
});

it("weights that an encoder takes for words are noticed", () => {
  expect(hasUnreadWeights(t5, "a (red:1.2) bird")).toBe(true);
  expect(hasUnreadWeights(t5, "a (red) bird")).toBe(false);
  expect(hasUnreadWeights(clip, "a (red:1.2) bird")).toBe(false);
});

describe("a word's positions", () => {
  const at = (prompt: string, word: string): number[] => positionsOf(clip, prompt, word);

  it.each([
    ["a scared red bird", "red", [3]],
    ["scattered cat", "cat", [2]],
    ["A Red bird", "rED", [2]],
    ["a (red) bird", "red", [3]],
    ["a red bird, a red cat", " red cat ", [6, 7]],
    ["Österreich im Öl", "öl", [3]],
    ["half-red C++ art", "c++", [4, 5]],
    ["a half-red (C|C) [^.$*?{}/\\\\]", "half-red (c|c) [^.$*?{}/\\\\]", [2, 3, 4, 5, 6, 7, 8, 9, 10]],
  ])("in %j of %j", (prompt, word, positions) => {
    expect(at(prompt, word)).toEqual(positions);
  });

  it.each([
    ["a scared bird", "red"],
    ["a red bird", ""],
    ["a red bird", " "],
    ["a red bird", "r.d"],
    ["a cafe\u0301", "cafe"], // an accent of its own
  ])("in %j of %j are none", (prompt, word) => {
    expect(at(prompt, word)).toEqual([]);
  });

  it("are those of the chunk that it is in, in which other words weigh what they do", () => {
    const prompt = `(${"a ".repeat(70)}:1.5), one red bird and a bird`;
    expect(at(prompt, "a")).toEqual([1]);
    expect(at(prompt, "one red")).toEqual([78, 79]);
    const long = `${"a ".repeat(70)}, one (red:1.2) bird and the cat, dogs`;
    expect([at(long, "a"), at(long, ", one"), at(long, "red bird"), at(long, "dogs")]).toEqual([
      [1],
      [71, 77 + 1],
      [77 + 2, 77 + 3],
      [77 + 8],
    ]);
  });

  it("are none beyond what is read", () => {
    const short = { ...clip, mostChunks: 1 };
    expect(positionsOf(short, `${"a ".repeat(74)} red bird`, "red")).toEqual([75]);
    expect(positionsOf(short, `${"a ".repeat(74)} red bird`, "bird")).toEqual([]);
  });
});
