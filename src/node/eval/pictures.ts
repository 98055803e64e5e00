/** The real pictures of an evaluation: a data set's captions held in memory, its pixels read again when they are needed. */

import { join } from "node:path";
import { KoalaError } from "../../core/errors.ts";
import type { Features } from "../../eval/features.ts";
import { joined } from "../../eval/features.ts";
import type { Framing } from "../../eval/preprocess.ts";
import type { Caption } from "../../eval/r-precision.ts";
import type { Scorer } from "../../eval/scorer.ts";
import type { Picture } from "../../image/pixels.ts";
import type { Size } from "../../train/data/buckets.ts";
import type { RecordOptions } from "../../train/data/record.ts";
import { checkUsable, type DataSource, type RawSample, SkipLog } from "../../train/data/sample.ts";
import { planView } from "../../train/data/view.ts";
import { decodeView, pictureSize } from "../data/decode.ts";
import { openSource } from "../data/open-source.ts";

/** A picture that is there, and whole as far as was looked. */
export interface Entry extends Caption {
  readonly id: string;
  /** Of the picture's bytes. */
  readonly hash: string;
}

export interface Pictures {
  /** For messages and the report. */
  readonly name: string;
  readonly entries: readonly Entry[];
  /** How many were left out, in words; empty where none was. */
  readonly skipped: readonly string[];
  readonly source: DataSource;
}

export interface OpenOptions {
  readonly records: RecordOptions;
  /**
   * Whether each picture is decoded to its end, as it must be where pixels are needed later: one that is cut short looks whole by
   * its head, and would be found out only when everything is drawn.
   */
  readonly isThorough: boolean;
  readonly signal: AbortSignal;
}

/**
 * Opens the data set of `paths` and reads who is in it.
 * @throws KoalaError E_FILE when there is nothing to be used, E_CONFIG when it lacks the fields asked for; the signal's reason
 */
export async function openPictures(
  name: string,
  paths: readonly string[],
  o: OpenOptions,
): Promise<Pictures> {
  const source = await openSource(paths, o.records);
  const log = new SkipLog(3);
  const entries: Entry[] = [];
  for await (const sample of source.samples(log.add)) {
    o.signal.throwIfAborted();
    const { id, hash, bytes, captions, group } = sample;
    const found = await (o.isThorough ? whole(sample) : pictureSize(bytes)).catch((e: KoalaError) => e);
    if (found instanceof KoalaError) log.add({ kind: "broken", id, reason: found.message });
    else entries.push({ id, hash, text: captions[0] ?? "", group });
  }
  checkUsable(source.name, entries.length, log);
  return { name, entries, skipped: log.lines(), source };
}

/** The path of a part of a data set. */
export const partOf = (data: string, split: string): string => (split === "" ? data : join(data, split));

/** Makes pixels of a sample's bytes. */
export type Decode = (sample: RawSample) => Promise<Picture>;

/** The picture as it is, upright and on white. */
export const whole: Decode = async ({ bytes }) => {
  const size = await pictureSize(bytes);
  const view = { original: size, resized: size, target: size, left: 0, top: 0, isFlipped: false };
  return decodeView(bytes, view, "white");
};

/** Its middle at that size: what a model of that size would draw. */
export const middle =
  (target: Size): Decode =>
  async ({ bytes, hash }) => {
    const o = { buckets: [target], crop: "center", hasFlips: false, views: 1, seed: 0, minSide: 1 } as const;
    return decodeView(bytes, planView(await pictureSize(bytes), hash, 0, o), "white");
  };

/**
 * Reads the pictures of `wanted` (numbers of entries; absent: all) once more, in the order of the data set.
 * @throws KoalaError E_FILE, E_IMAGE naming a picture that was damaged since
 */
export async function* readPictures(
  { entries, source }: Pictures,
  decode: Decode,
  wanted?: ReadonlySet<number>,
): AsyncGenerator<{ readonly number: number; readonly picture: Picture }> {
  const numbers = new Map(entries.map(({ id }, number) => [id, number]));
  for await (const sample of source.samples(() => {})) {
    const number = numbers.get(sample.id);
    if (number === undefined || wanted?.has(number) === false) continue;
    const picture = await decode(sample).catch((error: KoalaError) => error);
    if (picture instanceof KoalaError) {
      const { code, expected, got } = picture;
      throw new KoalaError(code, { where: `${source.name}: ${sample.id}`, expected, got, cause: picture });
    }
    yield { number, picture };
  }
}

/** Features of the pictures of `wanted` (absent: all) by their numbers. */
export async function realFeatures(
  pictures: Pictures,
  scorer: Scorer,
  o: {
    readonly wanted?: readonly number[];
    readonly framing?: Framing;
    readonly signal: AbortSignal;
    onPicture(): void;
  },
): Promise<Features> {
  const order = o.wanted ?? pictures.entries.map((_, i) => i);
  const place = new Map(order.map((number, i) => [number, i]));
  const all = {
    count: order.length,
    width: scorer.width,
    data: new Float32Array(order.length * scorer.width),
  };
  let waiting: { readonly number: number; readonly picture: Picture }[] = [];
  const flush = async (): Promise<void> => {
    const found = await scorer.pictures(
      waiting.map(({ picture }) => picture),
      o.framing,
    );
    for (const [i, { number }] of waiting.entries()) {
      const row = found.data.subarray(i * scorer.width, (i + 1) * scorer.width);
      all.data.set(row, (place.get(number) ?? 0) * scorer.width);
    }
    waiting = [];
  };
  for await (const one of readPictures(pictures, whole, new Set(order))) {
    o.signal.throwIfAborted();
    waiting.push(one);
    o.onPicture();
    if (waiting.length === scorer.batch) await flush();
  }
  await flush();
  return all;
}

/** Features of pictures that are read one after another. */
export async function featuresOf(
  pictures: AsyncIterable<Picture>,
  scorer: Scorer,
  framing?: Framing,
): Promise<Features> {
  const lots: Features[] = [];
  let waiting: Picture[] = [];
  for await (const picture of pictures) {
    waiting.push(picture);
    if (waiting.length < scorer.batch) continue;
    lots.push(await scorer.pictures(waiting, framing));
    waiting = [];
  }
  lots.push(await scorer.pictures(waiting, framing));
  return joined(lots, scorer.width);
}
