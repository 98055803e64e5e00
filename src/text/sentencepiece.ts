/**
 * A SentencePiece file (`spiece.model`) as the definition that @huggingface/tokenizers builds T5's tokenizer from.
 * Source: sentencepiece_model.proto, whose numbers of fields stand here; the rules are those of transformers' `T5Tokenizer`.
 */

import { BinaryReader } from "@bufbuild/protobuf/wire";
import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";

/** `ModelProto`. */
const PIECES = 1;
const TRAINER = 2;
const NORMALIZER = 3;
/** `SentencePiece`. */
const PIECE = 1;
const SCORE = 2;
/** `TrainerSpec`. */
const MODEL_TYPE = 3;
const UNKNOWN_ID = 40;
/** `NormalizerSpec`. */
const CHARSMAP = 2;
/** `TrainerSpec.ModelType.UNIGRAM`, which is also the default. */
const UNIGRAM = 1;

/** Of T5: sentinels after the pieces, the last first. */
export const EXTRA_IDS = 100;

export interface SentencePieces {
  /** In the order of their ids. */
  readonly pieces: readonly (readonly [piece: string, score: number])[];
  readonly unknownId: number;
  /** Whether text is normalized (Unicode's NFKC and white space) before it is cut. */
  readonly isNormalized: boolean;
}

/** Calls `field` for each field of a message; one that it does not read is skipped. */
function eachField(reader: BinaryReader, end: number, field: (number: number) => boolean): void {
  while (reader.pos < end) {
    const [number, wireType] = reader.tag();
    if (!field(number)) reader.skip(wireType);
  }
}

/** The end of the message inside that starts here with its length. */
const endOf = (reader: BinaryReader): number => reader.uint32() + reader.pos;

/**
 * The pieces of a file's bytes; `where` names it in messages.
 * @throws KoalaError E_TOKENIZER for other bytes, or another model than a unigram
 */
export function readSentencePieces(bytes: Uint8Array, where: string): SentencePieces {
  const pieces: [string, number][] = [];
  let modelType = UNIGRAM;
  let unknownId = 0;
  let isNormalized = false;
  const reader = new BinaryReader(bytes);

  const readers: Readonly<Record<number, (number: number) => boolean>> = {
    [PIECES]: (number) => {
      const last = pieces.at(-1);
      if (last === undefined || (number !== PIECE && number !== SCORE)) return false;
      if (number === PIECE) last[0] = reader.string();
      else last[1] = reader.float();
      return true;
    },
    [TRAINER]: (number) => {
      if (number !== MODEL_TYPE && number !== UNKNOWN_ID) return false;
      if (number === MODEL_TYPE) modelType = reader.int32();
      else unknownId = reader.int32();
      return true;
    },
    [NORMALIZER]: (number) => {
      if (number !== CHARSMAP) return false;
      isNormalized = reader.bytes().length > 0;
      return true;
    },
  };
  try {
    eachField(reader, reader.len, (number) => {
      const inside = readers[number];
      if (inside === undefined) return false;
      if (number === PIECES) pieces.push(["", 0]);
      eachField(reader, endOf(reader), inside);
      return true;
    });
  } catch (cause) {
    const got = cause instanceof Error ? cause.message : String(cause);
    throw new KoalaError("E_TOKENIZER", { where, expected: "a SentencePiece model", got, cause });
  }
  check(pieces.length > 0 && modelType === UNIGRAM, "E_TOKENIZER", () => ({
    where,
    expected: "a SentencePiece model of the kind unigram",
    got: pieces.length === 0 ? "no pieces" : `kind ${modelType}`,
  }));
  return { pieces, unknownId, isNormalized };
}

/** T5's own words for the tokens with a role. */
export const t5Specials = { eos_token: "</s>", unk_token: "<unk>", pad_token: "<pad>" } as const;

/** What `tokenizer.json` would say: words apart, each with "▁" before it, the end token after the text. */
export function t5Definition(
  { pieces, unknownId, isNormalized }: SentencePieces,
  extraIds: number,
  end: { readonly token: string; readonly id: number },
): Readonly<Record<string, unknown>> {
  const sentinels = Array.from(
    { length: extraIds },
    (_, i) => [`<extra_id_${extraIds - 1 - i}>`, 0] as const,
  );
  const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true };
  const single = [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: end.token, type_id: 0 } }];
  return {
    version: "1.0",
    // the library makes the same of every charsmap: NFKC, with white space and control characters as in nmt_nfkc
    normalizer: isNormalized ? { type: "Precompiled", precompiled_charsmap: null } : null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "WhitespaceSplit" }, metaspace] },
    post_processor: {
      type: "TemplateProcessing",
      single,
      pair: [
        ...single,
        { Sequence: { id: "B", type_id: 0 } },
        { SpecialToken: { id: end.token, type_id: 0 } },
      ],
      special_tokens: { [end.token]: { id: end.token, ids: [end.id], tokens: [end.token] } },
    },
    decoder: metaspace,
    model: { type: "Unigram", unk_id: unknownId, byte_fallback: false, vocab: [...pieces, ...sentinels] },
  };
}

/** The sentinels as tokens that are found before a text is cut, by id. */
export const sentinelsOf = (pieces: number, extraIds: number): [content: string, id: number][] =>
  Array.from({ length: extraIds }, (_, i) => [`<extra_id_${extraIds - 1 - i}>`, pieces + i]);
