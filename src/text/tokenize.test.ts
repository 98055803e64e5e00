/** Token ids against transformers on the tokenizers of models/koala-emoji. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { KoalaError } from "../core/errors.ts";
import { loadTokenizer, type TokenizerFiles, type TokenizerOptions } from "./tokenize.ts";

interface Case {
  readonly prompt: string;
  readonly ids: number[];
  readonly ids2: number[];
  readonly untruncated: number[];
  readonly untruncated2: number[];
  readonly cut: string | null;
}
const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const golden: { readonly cases: readonly Case[] } = JSON.parse(read("test/golden/tokenizer.json"));

function folder(name: string): TokenizerFiles {
  const at = (file: string) => read(`models/koala-emoji/${name}/${file}`);
  return {
    "vocab.json": at("vocab.json"),
    "merges.txt": at("merges.txt"),
    "tokenizer_config.json": at("tokenizer_config.json"),
    "special_tokens_map.json": at("special_tokens_map.json"),
  };
}
const idOf = (entry: string): number => JSON.parse(files["vocab.json"] ?? "{}")[entry];
const options: TokenizerOptions = { where: "tokenizer", contextLength: 32, vocabSize: 3202 };
const files = folder("tokenizer");
const files2 = folder("tokenizer_2");
const whole = {
  vocab: JSON.parse(files["vocab.json"] ?? "{}"),
  merges: (files["merges.txt"] ?? "").split("\n"),
};

test("ids, padding and what is cut off equal those of transformers", () => {
  const tokenizer = loadTokenizer(files, options);
  expect(tokenizer.maxLength).toBe(32);
  for (const { prompt, ids, untruncated, cut } of golden.cases) {
    const encoded = tokenizer.encode(prompt);
    expect(encoded.ids, prompt).toEqual(ids);
    expect(encoded.length, prompt).toBe(Math.min(untruncated.length, 32));
    expect(encoded.cut, prompt).toBe(cut ?? "");
  }
});

test('a tokenizer that pads with "!" pads with its id, and finds it in prompts as a token of its own', () => {
  const tokenizer = loadTokenizer(files2, options);
  for (const { prompt, ids2 } of golden.cases) expect(tokenizer.encode(prompt).ids, prompt).toEqual(ids2);
});

/** CLIP's definition as transformers 5.23 saves it. */
function saved(patch: object = {}): string {
  const words =
    "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
  const token = (id: number, content: string) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: true,
    special: true,
  });
  return JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [token(3200, "<|startoftext|>"), token(3201, "<|endoftext|>")],
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "NFC" },
        { type: "Replace", pattern: { Regex: "\\s+" }, content: " " },
        { type: "Lowercase" },
      ],
    },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: words }, behavior: "Removed", invert: true },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: {
      type: "RobertaProcessing",
      sep: ["<|endoftext|>", 3201],
      cls: ["<|startoftext|>", 3200],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: "<|endoftext|>",
      continuing_subword_prefix: "",
      end_of_word_suffix: "</w>",
      fuse_unk: false,
      vocab: whole.vocab,
      merges: whole.merges
        .slice(1)
        .filter((line) => line !== "")
        .map((line) => line.split(" ")),
    },
    ...patch,
  });
}

test("tokenizer.json alone gives the same ids", () => {
  const config = files["tokenizer_config.json"] ?? "";
  const tokenizer = loadTokenizer({ "tokenizer.json": saved(), "tokenizer_config.json": config }, options);
  for (const { prompt, ids } of golden.cases) expect(tokenizer.encode(prompt).ids, prompt).toEqual(ids);
});

test("a tokenizer that puts only an end after the prompt is framed by it, and padded with it where no padding is named", () => {
  const post = {
    type: "TemplateProcessing",
    single: [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "<|endoftext|>", type_id: 0 } }],
    pair: [],
    special_tokens: { "<|endoftext|>": { id: "<|endoftext|>", ids: [3201], tokens: ["<|endoftext|>"] } },
  };
  const tokenizer = loadTokenizer(
    { "tokenizer.json": saved({ post_processor: post }) },
    { ...options, contextLength: 6 },
  );
  expect(tokenizer.encode("red apple")).toEqual({
    ids: [idOf("red</w>"), idOf("apple</w>"), 3201, 3201, 3201, 3201],
    length: 3,
    cut: "",
  });
  expect(tokenizer.encode("red ".repeat(7))).toMatchObject({ length: 6, cut: "red red" });
});

test("white space is Unicode's and every capital sigma becomes the same letter, as in transformers", () => {
  // CLIPTokenizer of transformers 5.23 on models/koala-emoji/tokenizer
  const tokenizer = loadTokenizer(files, options);
  const bodyOf = (prompt: string) => {
    const { ids, length } = tokenizer.encode(prompt);
    return ids.slice(1, length - 1);
  };
  expect(bodyOf("a\u0085b")).toEqual(bodyOf("a b"));
  expect(bodyOf("\ufeffbom")).not.toEqual(bodyOf("bom"));
  expect(bodyOf("\u03a3\u0391\u03a3")).toEqual(bodyOf("\u03c3\u03b1\u03c3"));
});

test("special tokens may be objects, and are sought in the text as their flags say", () => {
  const token = (content: string) => ({
    content,
    lstrip: false,
    rstrip: false,
    normalized: true,
    single_word: false,
  });
  const decoder = {
    "3200": token("<|startoftext|>"),
    "3201": token("<|endoftext|>"),
    "0": { ...token("!"), normalized: false },
  };
  const config = JSON.stringify({ model_max_length: 32, pad_token: "!", added_tokens_decoder: decoder });
  const tokenizer = loadTokenizer({ ...files, "tokenizer_config.json": config }, options);
  // in lower case the end token is found, where the default finds it only as written
  expect(tokenizer.encode("<|ENDOFTEXT|> red!").ids.slice(0, 6)).toEqual([
    ...[3200, 3201, idOf("red</w>"), 0, 3201, 0],
  ]);
  // special_tokens_map.json pads with the end token, but a complete configuration goes before it
  expect(tokenizer.encode("").ids[31]).toBe(0);

  const older = JSON.stringify({ pad_token: "!", bos_token: token("<|startoftext|>") });
  const overridden = loadTokenizer({ ...files, "tokenizer_config.json": older }, options);
  expect(overridden.encode("").ids[31]).toBe(3201);
});

test("a file that says no length leaves it to the text encoder, and none says more than that", () => {
  const without = { "vocab.json": files["vocab.json"] ?? "", "merges.txt": files["merges.txt"] ?? "" };
  expect(loadTokenizer(without, { ...options, contextLength: 77 }).maxLength).toBe(77);
  const huge = {
    ...without,
    "tokenizer_config.json": '{"model_max_length": 1000000000000000019884624838656}',
  };
  expect(loadTokenizer(huge, options).maxLength).toBe(32);
});

function messageOf(given: TokenizerFiles, o: TokenizerOptions = options): string {
  try {
    loadTokenizer(given, o);
  } catch (error) {
    if (error instanceof KoalaError) return error.message;
    throw error;
  }
  throw new Error("nothing was thrown");
}

test("missing and broken files are named", () => {
  expect(messageOf({ "vocab.json": "{}" })).toBe(
    "tokenizer: expected vocab.json and merges.txt, tokenizer.json, or spiece.model, got vocab.json [E_TOKENIZER]",
  );
  expect(messageOf({})).toBe(
    "tokenizer: expected vocab.json and merges.txt, tokenizer.json, or spiece.model, got none of them [E_TOKENIZER]",
  );
  expect(messageOf({ ...files, "vocab.json": "{" })).toMatch(
    /^tokenizer\/vocab\.json: expected JSON, got .+ \[E_TOKENIZER\]$/,
  );
  expect(messageOf({ ...files, "vocab.json": "[1]" })).toBe(
    "tokenizer/vocab.json: expected a JSON object, got [1] [E_TOKENIZER]",
  );
  expect(messageOf({ "tokenizer.json": "{}" })).toMatch(
    /^tokenizer: expected a tokenizer that can be built, got .+ \[E_TOKENIZER\]$/,
  );
});

test("a vocabulary that does not hold together is refused", () => {
  expect(messageOf({ ...files, "vocab.json": '{"a": 0}' })).toBe(
    'tokenizer/vocab.json: expected the bos_token "<|startoftext|>", got 1 tokens without it [E_TOKENIZER]',
  );
  expect(messageOf(files, { ...options, vocabSize: 3201 })).toBe(
    'tokenizer: expected whole ids from 0 to 3200, the rows of the text encoder\'s embedding, got 3201 for "<|endoftext|>" [E_TOKENIZER]\n' +
      "This tokenizer and this text encoder do not belong together.",
  );
  expect(messageOf({ ...files, "tokenizer_config.json": '{"tokenizer_class": "GPT2Tokenizer"}' })).toBe(
    'tokenizer/tokenizer_config.json (tokenizer_class): expected "CLIPTokenizer" where there is vocab.json, got "GPT2Tokenizer" [E_TOKENIZER]',
  );
  expect(messageOf({ ...files, "tokenizer_config.json": '{"model_max_length": 2}' })).toBe(
    "tokenizer/tokenizer_config.json (model_max_length): expected more than the 2 tokens around every prompt, got 2 [E_TOKENIZER]",
  );
  const pad = '{"pad_token": "<pad>"}';
  expect(messageOf({ "tokenizer.json": saved(), "tokenizer_config.json": pad })).toBe(
    'tokenizer/tokenizer_config.json (pad_token): expected a token of the vocabulary, got "<pad>" [E_TOKENIZER]',
  );
});
