/** Chunks of texts through one encoder: states of their tokens, as heavy as their words, and one vector a text. */

import { KoalaError } from "../core/errors.ts";
import { isFiniteTensor } from "../engine/non-finite.ts";
import type { Program } from "../engine/program.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { type Chunk, emptyChunk } from "../text/chunks.ts";
import { type EncodedText, entries, inRows } from "./conditions.ts";
import type { TextEncoder } from "./networks.ts";

type Feeds = Readonly<Record<string, Tensor>>;

export interface EncodeOptions {
  readonly signal?: AbortSignal;
  /** Hears of text that did not fit. */
  warn(message: string): void;
  /** Names the first place where the encoder's numbers stop being finite. */
  blame(feeds: Feeds): Promise<string>;
}

/** Characters of a prompt's lost end that a warning quotes: enough to see where the cut is. */
const quotedLength = 200;

const quoteStart = (text: string): string =>
  text.length <= quotedLength
    ? text
    : `${text.slice(0, quotedLength)}… (${text.length - quotedLength} characters more)`;

/** What an encoder says of some chunks, by their ids: each output's own row. */
type States = ReadonlyMap<string, Feeds>;

const keyOf = ({ ids }: Chunk): string => ids.join();

/** Each distinct chunk once through the encoder, `batch` at a time; a run that is not full repeats its last. */
async function statesOf(
  chunks: readonly Chunk[],
  batch: number,
  run: (some: readonly Chunk[]) => Promise<Feeds>,
): Promise<States> {
  const distinct = [...new Map(chunks.map((chunk) => [keyOf(chunk), chunk])).values()];
  const states = new Map<string, Feeds>();
  for (let at = 0; at < distinct.length; at += batch) {
    const some = distinct.slice(at, at + batch);
    const last = some.at(-1) as Chunk;
    const results = await run(Array.from({ length: batch }, (_, i) => some[i] ?? last));
    const rowsOf = entries(results, batch);
    for (const [i, chunk] of some.entries()) states.set(keyOf(chunk), rowsOf[i] ?? {});
  }
  return states;
}

/**
 * States z of a chunk's tokens and z∅ of the empty text's, both [1, S, E] → z∅ + w·(z − z∅), token by token. The web UI scales z
 * itself and brings the mean back; this is ComfyUI's rule (comfy/sd1_clip.py, `encode_token_weights`).
 */
function emphasised(z: Tensor, empty: Tensor, weights: readonly number[]): Tensor {
  const [values, origin] = [toFloat32(z), toFloat32(empty)];
  const width = z.shape[2] ?? 1;
  return float32(
    z.shape,
    values.map((value, i) => {
      const from = origin[i] ?? 0;
      return from + (weights[Math.floor(i / width)] ?? 1) * (value - from);
    }),
  );
}

/** Tells of what the encoder will not read. */
function tellCut(
  { tokenizer, mostChunks }: TextEncoder,
  texts: readonly (readonly Chunk[])[],
  warn: EncodeOptions["warn"],
): void {
  for (const [i, chunks] of texts.entries()) {
    const which = i === texts.length - 1 ? "prompt" : "negative prompt";
    const cut = chunks.at(-1)?.cut ?? "";
    if (cut !== "")
      warn(
        `the ${which} is longer than the ${mostChunks * tokenizer.maxLength} tokens that the text encoder reads; this was cut off: ${quoteStart(cut)}`,
      );
  }
}

/** What the program says of as many chunks as it takes. @throws KoalaError E_NAN */
async function run(
  encoder: TextEncoder,
  program: Program,
  chunks: readonly Chunk[],
  o: EncodeOptions,
): Promise<Feeds> {
  o.signal?.throwIfAborted();
  const feeds = encoder.feeds(chunks);
  const results = await program.run(feeds);
  if (Object.values(results).every(isFiniteTensor)) return results;
  throw new KoalaError("E_NAN", {
    where: `${encoder.name}: ${await o.blame(feeds)}`,
    expected: "finite numbers",
    got: "NaN or infinity",
    hint: "The weights may be damaged, or stored in float16 where they need float32.",
  });
}

/**
 * Runs an encoder's program, which takes as many chunks as there are texts, on all chunks of the texts. The last text is what to
 * draw, one before it the negative prompt; all have as many chunks. A text's vector is that of its first chunk, whatever its words
 * weigh, in the web UI and in ComfyUI too.
 * @throws KoalaError E_NAN with the tap where NaN or infinity first appears; the signal's reason
 */
export async function encodeTexts(
  encoder: TextEncoder,
  program: Program,
  texts: readonly (readonly Chunk[])[],
  o: EncodeOptions,
): Promise<EncodedText> {
  tellCut(encoder, texts, o.warn);
  const chunks = texts.flat();
  const empty = emptyChunk(encoder.tokenizer);
  const isWeighted = chunks.some(({ weights }) => weights !== null);
  const states = await statesOf(isWeighted ? [...chunks, empty] : chunks, texts.length, (some) =>
    run(encoder, program, some, o),
  );
  const ofTokens = (chunk: Chunk): Tensor => {
    const { last, hidden } = states.get(keyOf(chunk)) ?? {};
    return (last ?? hidden) as Tensor;
  };
  const weighed = chunks.map((chunk) =>
    chunk.weights === null ? ofTokens(chunk) : emphasised(ofTokens(chunk), ofTokens(empty), chunk.weights),
  );
  const vectors = texts.flatMap(([first]) => states.get(keyOf(first as Chunk))?.projected ?? []);
  return {
    states: inRows(weighed, texts.length),
    projected: vectors.length === 0 ? null : inRows(vectors, texts.length),
    mask: encoder.mask(chunks),
  };
}
