/**
 * A data set made ready for training: pictures cropped and encoded, captions encoded, both kept on the disk under the
 * hash of their content, in folders named by the hash of what they depend on. A second run, or one after a kill, makes
 * only what is missing. In a job of several processes one prepares, and the others open what it made.
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { type Log, silent } from "../../core/log.ts";
import type { Picture } from "../../image/pixels.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { bucketName } from "../../train/data/buckets.ts";
import { Census, type CensusResult } from "../../train/data/census.ts";
import type { CaptionEncoder, CaptionStates, PictureEncoder } from "../../train/data/encode.ts";
import type { PreparedData, PreparedSample } from "../../train/data/loader.ts";
import { parseObject } from "../../train/data/record.ts";
import {
  checkUsable,
  type DataSource,
  type RawSample,
  SkipLog,
  type Skipped,
} from "../../train/data/sample.ts";
import type { View, ViewOptions } from "../../train/data/view.ts";
import { makeFolder, writeAtomically } from "../files.ts";
import { decodeView, viewOf } from "./decode.ts";
import { contentHash } from "./hash.ts";
import { RecordShards } from "./shards.ts";

/** A file of the cache: small enough to be copied and fetched one by one. */
const shardBytes = 512 * 2 ** 20;
/** What a kill may cost: some minutes of a VAE at 128 px on two cores. */
const shardRecords = 2048;
/** Records that stay in memory: all of a small data set. */
const memoryBytes = 2 ** 30;
/** Decoded pictures that wait until their bucket is encoded; a program is compiled anew for each bucket of a round. */
const windowBytes = 256 * 2 ** 20;

/** Of the layout of names and indices here; another one does not see what an older one made. */
const format = "koala-data 1";

export interface PrepareOptions {
  /** Folder of all caches; made if it is not there. */
  readonly cache: string;
  readonly view: ViewOptions;
  /** What transparent pictures lie on: a colour that CSS knows. */
  readonly background: string;
  readonly pictures: PictureEncoder;
  /** null: captions are not encoded, as for a VAE. */
  readonly captions: CaptionEncoder | null;
  /** Tokens of a caption, for the census. */
  readonly countTokens?: (caption: string) => number;
  readonly log?: Log;
  readonly signal?: AbortSignal;
  onProgress?(stage: "pictures" | "captions", done: number, total: number | null): void;
}

export interface Prepared extends PreparedData {
  readonly census: CensusResult;
}

/** Of one data set and one configuration. */
interface Stores {
  readonly pictures: RecordShards;
  readonly captions: RecordShards | null;
}

const pictureConfig = ({ view, background, pictures }: PrepareOptions): string =>
  JSON.stringify({ format, view, background, encoder: pictures.key });

const captionConfig = (encoder: CaptionEncoder): string => JSON.stringify({ format, encoder: encoder.key });

async function openStores(o: PrepareOptions, repair?: (message: string) => void): Promise<Stores> {
  const open = (kind: string, config: string): Promise<RecordShards> =>
    RecordShards.open(
      join(o.cache, `${kind}-${contentHash(config)}`),
      { config, maxBytes: shardBytes, maxRecords: shardRecords, memoryBytes },
      repair,
    );
  return {
    pictures: await open("pictures", pictureConfig(o)),
    captions: o.captions === null ? null : await open("captions", captionConfig(o.captions)),
  };
}

/** Where the list of a source's samples lies. */
function indexPath(source: DataSource, o: PrepareOptions): string {
  const captions = o.captions === null ? null : captionConfig(o.captions);
  return join(
    o.cache,
    `samples-${contentHash(JSON.stringify([source.key, pictureConfig(o), captions]))}.json`,
  );
}

const viewKey = (hash: string, view: number): string => `${hash}.${view}`;

/** The name under which a picture's or caption's own tensor is kept. */
const main = "states";
const pooledName = "pooled";
const maskName = "mask";

/**
 * Reads all of `source`, encodes what the cache lacks, and gives access to the whole.
 * An abort throws the signal's reason; what is ready then, or at an error, is written first.
 * @throws KoalaError E_FILE when nothing can be used, E_DISK, E_OUTPUT, E_NAN, E_ENGINE, and as the source throws
 */
export async function prepareData(source: DataSource, o: PrepareOptions): Promise<Prepared> {
  const log = o.log ?? silent;
  await makeFolder(o.cache, { mayHaveFiles: true });
  const stores = await openStores(o, (message) => log.warn(message));
  const skips = new SkipLog();
  const census = new Census(o.countTokens ?? null);
  try {
    const samples = await preparePictures(source, stores.pictures, skips, o);
    for (const line of skips.lines()) log.warn(line);
    checkUsable(source.name, samples.length, skips);
    await prepareCaptions(samples, stores.captions, o);
    for (const { views, captions, group } of samples) census.add({ ...views[0], captions, group });
    const result = census.result(skips);
    await writeAtomically(
      indexPath(source, o),
      JSON.stringify({ format, census: result, samples: samples.map(({ views: _, ...sample }) => sample) }),
    );
    return prepared(samples, stores, result);
  } catch (error) {
    // what is ready stays; where that fails too, the first error is the one to tell
    await stores.pictures.flush().catch(() => {});
    await stores.captions?.flush().catch(() => {});
    throw error;
  }
}

/**
 * What `prepareData` made of the same source with the same options, without a look at the source.
 * @throws KoalaError E_FILE when it was not prepared, or something of it is gone; E_SAFETENSORS
 */
export async function openPrepared(source: DataSource, o: PrepareOptions): Promise<Prepared> {
  const path = indexPath(source, o);
  const index = parseObject(await readFile(path, "utf8").catch(() => ""));
  check(index !== null && index.format === format, "E_FILE", () => ({
    where: source.name,
    expected: `a prepared data set in ${o.cache}`,
    got: "none for this data and these options",
    hint: "Prepare it first.",
  }));
  const stores = await openStores(o);
  const listed = index.samples as readonly Omit<PreparedSample, "views">[];
  const samples = listed.map((sample): PreparedSample => {
    const views = Array.from({ length: o.view.views }, (_, i) =>
      stores.pictures.info(viewKey(sample.hash, i)),
    );
    check(!views.includes(undefined), "E_FILE", () => ({
      where: source.name,
      expected: `the encoded picture of ${sample.id} in ${o.cache}`,
      got: "none",
      hint: "Prepare the data set again: what is there is kept.",
    }));
    return { ...sample, views: views as [View, ...View[]] };
  });
  return prepared(samples, stores, index.census as CensusResult);
}

function prepared(
  samples: readonly PreparedSample[],
  { pictures, captions }: Stores,
  census: CensusResult,
): Prepared {
  return {
    samples,
    census,
    picture: async ({ hash }, view) => (await pictures.read(viewKey(hash, view)))[main] as Tensor,
    async caption(caption) {
      check(captions !== null, "E_CONFIG", () => ({
        where: "captions",
        expected: "a data set prepared with text encoders",
        got: "one without",
      }));
      const kept = await captions.read(contentHash(caption));
      const { [main]: text, [pooledName]: pooled, [maskName]: mask } = kept;
      return { text: text as Tensor, pooled: pooled ?? null, ...(mask === undefined ? {} : { mask }) };
    },
  };
}

/** A picture that waits to be encoded. */
interface Waiting {
  readonly key: string;
  readonly view: View;
  readonly picture: Picture;
}

async function preparePictures(
  source: DataSource,
  store: RecordShards,
  skips: SkipLog,
  o: PrepareOptions,
): Promise<PreparedSample[]> {
  const samples: PreparedSample[] = [];
  let waiting = new Map<string, Waiting>();
  let bytes = 0;
  const encodeAll = async (): Promise<void> => {
    await encodePictures([...waiting.values()], store, o);
    waiting = new Map();
    bytes = 0;
  };
  for await (const raw of source.samples(skips.add)) {
    o.signal?.throwIfAborted();
    const found = await viewsOf(raw, (key) => store.info(key) ?? waiting.get(key)?.view, o);
    if ("kind" in found) skips.add(found);
    else {
      const { id, hash, captions, group, weight } = raw;
      samples.push({ id, hash, captions, group, weight, views: found.views });
      for (const fresh of found.fresh) {
        waiting.set(fresh.key, fresh);
        bytes += fresh.picture.data.length;
      }
      if (bytes >= windowBytes) await encodeAll();
    }
    o.onProgress?.("pictures", samples.length + skips.total, source.count);
  }
  await encodeAll();
  await store.flush();
  return samples;
}

interface Views {
  readonly views: readonly [View, ...View[]];
  /** Those that are not in the cache yet. */
  readonly fresh: readonly Waiting[];
}

/** The views of a sample, decoded where `known` does not know them; or why the picture is left out. */
async function viewsOf(
  { id, hash, bytes }: RawSample,
  known: (key: string) => unknown,
  o: PrepareOptions,
): Promise<Views | Skipped> {
  const views: View[] = [];
  const fresh: Waiting[] = [];
  for (let i = 0; i < o.view.views; i++) {
    const key = viewKey(hash, i);
    const old = known(key) as View | undefined;
    if (old !== undefined) {
      views.push(old);
      continue;
    }
    const view = await viewOf(bytes, hash, i, o.view);
    if ("kind" in view) return { ...view, id };
    const picture = await decodeView(bytes, view, o.background).catch((error: KoalaError) => error);
    if (picture instanceof KoalaError) return { kind: "broken", id, reason: picture.message };
    views.push(view);
    fresh.push({ key, view, picture });
  }
  return { views: views as [View, ...View[]], fresh };
}

/** Bucket by bucket, since a program is compiled for one size. */
async function encodePictures(
  waiting: readonly Waiting[],
  store: RecordShards,
  o: PrepareOptions,
): Promise<void> {
  const buckets = new Map<string, Waiting[]>();
  for (const one of waiting) {
    const name = bucketName(one.view.target);
    const bucket = buckets.get(name);
    if (bucket === undefined) buckets.set(name, [one]);
    else bucket.push(one);
  }
  for (const bucket of buckets.values()) {
    for (let i = 0; i < bucket.length; i += o.pictures.batch) {
      o.signal?.throwIfAborted();
      const batch = bucket.slice(i, i + o.pictures.batch);
      const encoded = await o.pictures.encode(batch.map(({ picture }) => picture));
      for (const [j, { key, view }] of batch.entries())
        await store.put(key, { [main]: encoded[j] as Tensor }, view);
    }
  }
}

/** Each caption once, and the empty one, which guidance needs. */
async function prepareCaptions(
  samples: readonly PreparedSample[],
  store: RecordShards | null,
  o: PrepareOptions,
): Promise<void> {
  const { captions: encoder } = o;
  if (store === null || encoder === null) return;
  const all = new Set(["", ...samples.flatMap(({ captions }) => captions)]);
  const missing = [...all].filter((caption) => !store.has(contentHash(caption)));
  let done = all.size - missing.length;
  for (let i = 0; i < missing.length; i += encoder.batch) {
    o.signal?.throwIfAborted();
    const batch = missing.slice(i, i + encoder.batch);
    const encoded = await encoder.encode(batch);
    for (const [j, caption] of batch.entries()) {
      const { text, pooled, mask } = encoded[j] as CaptionStates;
      const tensors = {
        [main]: text,
        ...(pooled === null ? {} : { [pooledName]: pooled }),
        ...(mask == null ? {} : { [maskName]: mask }),
      };
      await store.put(contentHash(caption), tensors, caption);
    }
    done += batch.length;
    o.onProgress?.("captions", done, all.size);
  }
  await store.flush();
}
