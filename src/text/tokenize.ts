/**
 * Prompts to token ids, around @huggingface/tokenizers. A folder with `vocab.json` and `merges.txt` is CLIP's
 * byte-level BPE, whose rules (lower case, one space, end-of-word marks) are stated here as transformers'
 * `CLIPTokenizer` builds them; one with `spiece.model` alone is T5's; any other brings its rules in `tokenizer.json`.
 */

import { Tokenizer as Library } from "@huggingface/tokenizers";
import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { EXTRA_IDS, readSentencePieces, sentinelsOf, t5Definition, t5Specials } from "./sentencepiece.ts";

/** The files of a tokenizer's folder that are read, where they exist. */
export const tokenizerFiles = [
  "tokenizer_config.json",
  "special_tokens_map.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.json",
] as const;

/** The one file of a tokenizer that is not text. */
export const sentencePieceFile = "spiece.model";

/** Contents by file name. */
export type TokenizerFiles = Readonly<Partial<Record<(typeof tokenizerFiles)[number], string>>> & {
  readonly [sentencePieceFile]?: Uint8Array;
};

export interface Encoded {
  /** [maxLength]: begin, the prompt, end, then padding. */
  readonly ids: readonly number[];
  /** Ids before the padding, begin and end included. */
  readonly length: number;
  /** The end of the prompt that did not fit, as the tokenizer spells it; "" where all of it did. */
  readonly cut: string;
}

/** A piece of a text in the vocabulary's own spelling, with its id. */
export interface Token {
  readonly id: number;
  readonly spelling: string;
}

export interface Tokenizer {
  readonly maxLength: number;
  /** Ids of a text that fit between what opens and closes it. */
  readonly room: number;
  /** Ids that open a text: where its own begin. */
  readonly start: number;
  /** As many as the text has. */
  tokens(text: string): Token[];
  /** Opened, closed and padded; what is beyond `room` is cut off. */
  frame(tokens: readonly Pick<Token, "id">[]): Encoded;
  /** The tokens of a prompt in their frame. */
  encode(prompt: string): Encoded;
}

export interface TokenizerOptions {
  /** The folder's name, for messages. */
  readonly where: string;
  /** Positions of the text encoder: no prompt is longer, whatever the tokenizer's files say. */
  readonly contextLength: number;
  /** Rows of the text encoder's embedding: every id must be below. */
  readonly vocabSize: number;
}

export type Json = Readonly<Record<string, unknown>>;

/** A token that is found in the prompt before anything else happens to it: an entry of `added_tokens`. */
interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Whether it is sought in the normalised text (lower case) or in the text as it came. */
  readonly normalized: boolean;
  readonly special: boolean;
}

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** @throws KoalaError E_TOKENIZER */
function parse(files: TokenizerFiles, name: (typeof tokenizerFiles)[number], where: string): Json | null {
  const text = files[name];
  if (text === undefined) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const got = cause instanceof Error ? cause.message : String(cause);
    throw new KoalaError("E_TOKENIZER", { where: `${where}/${name}`, expected: "JSON", got, cause });
  }
  check(isObject(value), "E_TOKENIZER", () => ({
    where: `${where}/${name}`,
    expected: "a JSON object",
    got: JSON.stringify(value).slice(0, 40),
  }));
  return value;
}

/** CLIP's own words for the tokens that a file may leave out. */
export const clipSpecials: Json = {
  bos_token: "<|startoftext|>",
  eos_token: "<|endoftext|>",
  unk_token: "<|endoftext|>",
  pad_token: "<|endoftext|>",
};

const contentOf = (token: unknown): string | null =>
  typeof token === "string"
    ? token
    : isObject(token) && typeof token.content === "string"
      ? token.content
      : null;

/**
 * The tokens with a role. As in transformers, `special_tokens_map.json` goes before `tokenizer_config.json`,
 * unless the latter has `added_tokens_decoder` and so is complete.
 */
function specialTokens(config: Json, map: Json): Json {
  const given = isObject(config.added_tokens_decoder) ? { ...map, ...config } : { ...config, ...map };
  const roles = Object.keys(clipSpecials).filter((role) => contentOf(given[role]) !== null);
  return Object.fromEntries(roles.map((role) => [role, given[role]]));
}

function addedToken(id: number, content: string, flags: Json): AddedToken {
  const is = (name: string): boolean => flags[name] === true;
  return {
    id,
    content,
    single_word: is("single_word"),
    lstrip: is("lstrip"),
    rstrip: is("rstrip"),
    normalized: is("normalized"),
    special: true,
  };
}

/** Every special token that has an id; the padding token is one too, so a padding "!" is split off in prompts. */
function addedTokens(
  config: Json,
  specials: Json,
  idOf: (content: string) => number | undefined,
): Map<string, AddedToken> {
  const added = new Map<string, AddedToken>();
  for (const token of Object.values(specials)) {
    const content = contentOf(token);
    const id = content === null ? undefined : idOf(content);
    // a later role says anew how the token is sought, as in transformers
    if (content !== null && id !== undefined)
      added.set(content, addedToken(id, content, isObject(token) ? token : {}));
  }
  for (const [id, token] of Object.entries(
    isObject(config.added_tokens_decoder) ? config.added_tokens_decoder : {},
  )) {
    const content = contentOf(token);
    if (content !== null && isObject(token)) added.set(content, addedToken(Number(id), content, token));
  }
  return added;
}

/**
 * The `tokenizer.json` that `CLIPTokenizer` of transformers makes from `vocab.json` and `merges.txt`.
 * White space is written as the Unicode property, since `\s` of JavaScript also takes U+FEFF; a capital sigma
 * is lowered by itself, since lower-casing a whole text would look at its neighbours.
 */
export function clipDefinition(vocab: Json, merges: readonly string[], specials: Json): Json {
  const special = (role: string): string => contentOf(specials[role]) ?? "";
  const words =
    "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\p{White_Space}\\p{L}\\p{N}]+";
  return {
    version: "1.0",
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "NFC" },
        { type: "Replace", pattern: { Regex: "\\p{White_Space}+" }, content: " " },
        { type: "Replace", pattern: { String: "\u03a3" }, content: "\u03c3" },
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
      sep: [special("eos_token"), vocab[special("eos_token")]],
      cls: [special("bos_token"), vocab[special("bos_token")]],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      unk_token: special("unk_token"),
      continuing_subword_prefix: "",
      end_of_word_suffix: "</w>",
      fuse_unk: false,
      vocab,
      merges,
    },
  };
}

/** Checks a vocabulary's ids. @throws KoalaError E_TOKENIZER */
function checkIds(entries: Iterable<readonly [string, unknown]>, where: string, vocabSize: number): void {
  for (const [token, id] of entries) {
    check(typeof id === "number" && Number.isInteger(id) && id >= 0 && id < vocabSize, "E_TOKENIZER", () => ({
      where,
      expected: `whole ids from 0 to ${vocabSize - 1}, the rows of the text encoder's embedding`,
      got: `${JSON.stringify(id)} for ${JSON.stringify(token)}`,
      hint: "This tokenizer and this text encoder do not belong together.",
    }));
  }
}

/** The vocabulary of a definition, token by token: an object (BPE, WordPiece) or a list of pairs (Unigram). */
function* vocabularyOf(definition: Json): Generator<readonly [string, unknown]> {
  const vocab = isObject(definition.model) ? definition.model.vocab : undefined;
  if (Array.isArray(vocab)) for (const [id, entry] of vocab.entries()) yield [String(entry?.[0]), id];
  else if (isObject(vocab)) yield* Object.entries(vocab);
  if (Array.isArray(definition.added_tokens)) {
    for (const token of definition.added_tokens) if (isObject(token)) yield [String(token.content), token.id];
  }
}

/** What the library builds a tokenizer from, and the tokens with a role. */
function define(
  files: TokenizerFiles,
  config: Json,
  o: TokenizerOptions,
): { definition: Json; specials: Json } {
  const map = parse(files, "special_tokens_map.json", o.where) ?? {};
  const given = specialTokens(config, map);
  const vocab = parse(files, "vocab.json", o.where);
  const merges = files["merges.txt"];
  if (vocab !== null && merges !== undefined) {
    const name = config.tokenizer_class ?? "CLIPTokenizer";
    check(name === "CLIPTokenizer" || name === "CLIPTokenizerFast", "E_TOKENIZER", () => ({
      where: `${o.where}/tokenizer_config.json (tokenizer_class)`,
      expected: '"CLIPTokenizer" where there is vocab.json',
      got: JSON.stringify(name),
    }));
    const specials = { ...clipSpecials, ...given };
    for (const [role, token] of Object.entries(specials)) {
      const content = contentOf(token) ?? "";
      check(Object.hasOwn(vocab, content), "E_TOKENIZER", () => ({
        where: `${o.where}/vocab.json`,
        expected: `the ${role} ${JSON.stringify(content)}`,
        got: `${Object.keys(vocab).length} tokens without it`,
      }));
    }
    const rules = merges.split("\n").map((line) => line.trimEnd());
    const definition = clipDefinition(
      vocab,
      rules.filter((line) => line !== "" && !line.startsWith("#version")),
      specials,
    );
    const added = addedTokens(config, specials, (content) => vocab[content] as number | undefined);
    return { definition: { ...definition, added_tokens: [...added.values()] }, specials };
  }
  const whole = parse(files, "tokenizer.json", o.where);
  const pieces = files[sentencePieceFile];
  if (whole === null && pieces !== undefined) return defineT5(pieces, config, given, o.where);
  check(whole !== null, "E_TOKENIZER", () => ({
    where: o.where,
    expected: "vocab.json and merges.txt, tokenizer.json, or spiece.model",
    got: Object.keys(files).join(", ") || "none of them",
  }));
  const ids = new Map(vocabularyOf(whole));
  const own = (Array.isArray(whole.added_tokens) ? whole.added_tokens : []) as readonly AddedToken[];
  const added = addedTokens(config, given, (content) => ids.get(content) as number | undefined);
  for (const token of own) added.set(token.content, token);
  return { definition: { ...whole, added_tokens: [...added.values()] }, specials: given };
}

/** T5's tokenizer: pieces in the order of their ids, then sentinels. @throws KoalaError E_TOKENIZER */
function defineT5(
  bytes: Uint8Array,
  config: Json,
  given: Json,
  where: string,
): { definition: Json; specials: Json } {
  const model = readSentencePieces(bytes, `${where}/${sentencePieceFile}`);
  const specials: Json = { ...t5Specials, ...given };
  const ids = new Map(model.pieces.map(([piece], id) => [piece, id]));
  const token = contentOf(specials.eos_token) ?? "";
  const id = ids.get(token);
  check(id !== undefined, "E_TOKENIZER", () => ({
    where: `${where}/${sentencePieceFile}`,
    expected: `the eos_token ${JSON.stringify(token)}`,
    got: `${ids.size} pieces without it`,
  }));
  const extraIds = typeof config.extra_ids === "number" ? config.extra_ids : EXTRA_IDS;
  const added = addedTokens(config, specials, (content) => ids.get(content));
  for (const [content, place] of sentinelsOf(model.pieces.length, extraIds))
    if (!added.has(content)) added.set(content, addedToken(place, content, {}));
  return {
    definition: { ...t5Definition(model, extraIds, { token, id }), added_tokens: [...added.values()] },
    specials,
  };
}

/** A file that says no length says 10³⁰ (transformers' `VERY_LARGE_INTEGER`). */
function maxLengthOf(config: Json, contextLength: number): number {
  const said = config.model_max_length;
  return typeof said === "number" && said >= 1 ? Math.min(Math.floor(said), contextLength) : contextLength;
}

/**
 * The tokenizer of a folder, from the contents of its files.
 * @throws KoalaError E_TOKENIZER for files that are missing, broken, or do not fit the text encoder
 */
export function loadTokenizer(files: TokenizerFiles, o: TokenizerOptions): Tokenizer {
  const config = parse(files, "tokenizer_config.json", o.where) ?? {};
  const { definition, specials } = define(files, config, o);
  checkIds(vocabularyOf(definition), o.where, o.vocabSize);
  let library: Library;
  try {
    library = new Library(definition, config);
  } catch (cause) {
    const got = cause instanceof Error ? cause.message : String(cause);
    throw new KoalaError("E_TOKENIZER", {
      where: o.where,
      expected: "a tokenizer that can be built",
      got,
      cause,
    });
  }
  const maxLength = maxLengthOf(config, o.contextLength);
  const tokens = (text: string): Token[] => {
    const { ids, tokens: spellings } = library.encode(text, { add_special_tokens: false });
    return ids.map((id: number, i: number) => ({ id, spelling: spellings[i] ?? "" }));
  };
  const idsOf = (own: readonly Pick<Token, "id">[]): number[] => own.map(({ id }) => id);
  const { before, after } = frameOf(library.encode("a").ids, idsOf(tokens("a")));
  const padToken = contentOf(specials.pad_token);
  const pad = padToken === null ? after.at(-1) : library.token_to_id(padToken);
  check(pad !== undefined, "E_TOKENIZER", () => ({
    where: `${o.where}/tokenizer_config.json (pad_token)`,
    expected: "a token of the vocabulary",
    got: JSON.stringify(padToken),
  }));
  const room = maxLength - before.length - after.length;
  check(room > 0, "E_TOKENIZER", () => ({
    where: `${o.where}/tokenizer_config.json (model_max_length)`,
    expected: `more than the ${before.length + after.length} tokens around every prompt`,
    got: `${maxLength}`,
  }));
  const frame: Tokenizer["frame"] = (own) => {
    const body = idsOf(own);
    const ids = [...before, ...body.slice(0, room), ...after];
    const rest = body.slice(room);
    return {
      ids: [...ids, ...new Array<number>(maxLength - ids.length).fill(pad)],
      length: ids.length,
      cut: rest.length === 0 ? "" : library.decode(rest, { clean_up_tokenization_spaces: false }).trim(),
    };
  };
  return {
    ...{ maxLength, room, start: before.length },
    ...{ tokens, frame, encode: (prompt) => frame(tokens(prompt)) },
  };
}

/** What the tokenizer puts around a text: found by looking, since every kind of post-processor says it otherwise. */
function frameOf(whole: readonly number[], body: readonly number[]): { before: number[]; after: number[] } {
  for (let start = 0; start + body.length <= whole.length; start++) {
    if (body.every((id, i) => whole[start + i] === id)) {
      return { before: whole.slice(0, start), after: whole.slice(start + body.length) };
    }
  }
  return { before: [], after: [] };
}
