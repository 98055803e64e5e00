/**
 * WebDataset shards: tar files in which the files of a sample stand one after another and share their name up to the
 * first dot. Source: the WebDataset format specification, "Tar-based datasets".
 */

import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { basename } from "node:path";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { describe, noCaption, parseObject, type RecordOptions, withText } from "../../train/data/record.ts";
import type { DataSource, RawSample, Skipped } from "../../train/data/sample.ts";
import { openFile } from "../files.ts";
import { contentHash } from "./hash.ts";

const pictureExtensions: ReadonlySet<string> = new Set(["jpg", "jpeg", "png", "webp"]);
const textExtensions: ReadonlySet<string> = new Set(["txt", "json"]);

/** A raw 4096 x 4096 RGB picture takes 50 MB; a longer file in a shard of samples is a mistake, or an attack. */
const maxFileBytes = 256 * 2 ** 20;

/** tar's unit. A file ends with two blocks of zeros. */
const blockBytes = 512;

/** The files of one sample so far, by extension. */
interface Group {
  readonly key: string;
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
}

/**
 * `path` is a tar file.
 * @throws KoalaError E_FILE when it is no tar file or is cut short
 */
export async function openTar(path: string, o: RecordOptions = {}): Promise<DataSource> {
  await openFile(path);
  await checkEnd(path);
  return {
    name: path,
    key: JSON.stringify({ path, ...o }),
    count: null,
    samples: (skip) => samples(path, o, skip),
  };
}

const damaged = (path: string, got: string, cause?: unknown): KoalaError =>
  new KoalaError("E_FILE", {
    where: path,
    expected: "a whole tar file",
    got,
    hint: "The file is damaged, compressed or was not fetched to its end: fetch it again, or unpack it first.",
    cause,
  });

/** A tar file that was cut between two of its files looks whole but for its end. */
async function checkEnd(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    const { size } = await handle.stat();
    const end = Buffer.alloc(blockBytes, 1);
    if (size >= blockBytes) await handle.read(end, 0, blockBytes, size - blockBytes);
    if (end.some((byte) => byte !== 0)) throw damaged(path, `${size} bytes that do not end as one`);
  } finally {
    await handle.close();
  }
}

async function* samples(
  path: string,
  o: RecordOptions,
  skip: (skipped: Skipped) => void,
): AsyncGenerator<RawSample> {
  let group: Group = { key: "", files: new Map() };
  for await (const { key, extension, bytes } of files(path)) {
    if (key !== group.key) {
      yield* finish(path, group, o, skip);
      group = { key, files: new Map() };
    }
    group.files.set(extension, bytes);
  }
  yield* finish(path, group, o, skip);
}

interface ShardFile {
  readonly key: string;
  readonly extension: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The pictures and texts of the shard, in its order. */
async function* files(path: string): AsyncGenerator<ShardFile> {
  const { extract } = await import("tar-stream");
  const stream = createReadStream(path);
  const entries = stream.pipe(extract());
  stream.on("error", (error) => entries.destroy(error));
  try {
    for await (const entry of entries) {
      const { name, type, size } = entry.header;
      const dot = name.indexOf(".", name.lastIndexOf("/") + 1);
      const extension = dot < 0 ? "" : name.slice(dot + 1).toLowerCase();
      if (type !== "file" || !(pictureExtensions.has(extension) || textExtensions.has(extension))) {
        entry.resume();
        continue;
      }
      check(size <= maxFileBytes, "E_FILE", () => ({
        where: `${path}: ${name}`,
        expected: `a file of at most ${maxFileBytes} bytes`,
        got: `${size} bytes`,
      }));
      yield { key: name.slice(0, dot), extension, bytes: await contents(entry, size) };
    }
  } catch (error) {
    throw error instanceof KoalaError ? error : damaged(path, (error as Error).message, error);
  } finally {
    stream.destroy();
  }
}

async function contents(entry: AsyncIterable<unknown>, size: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(size);
  let done = 0;
  for await (const piece of entry) {
    bytes.set(piece as Uint8Array, done);
    done += (piece as Uint8Array).length;
  }
  return bytes;
}

function* finish(
  path: string,
  { key, files }: Group,
  o: RecordOptions,
  skip: (skipped: Skipped) => void,
): Generator<RawSample> {
  if (files.size === 0) return;
  const id = `${basename(path)}/${key}`;
  const picture = [...files].find(([extension]) => pictureExtensions.has(extension));
  if (picture === undefined) return skip({ kind: "missing file", id, reason: "texts without a picture" });
  const text = (extension: string): string | null => {
    const bytes = files.get(extension);
    return bytes === undefined ? null : new TextDecoder().decode(bytes);
  };
  const json = text("json");
  const record = json === null ? {} : parseObject(json);
  if (record === null) return skip({ kind: "broken", id, reason: "its .json is not a JSON object" });
  const described = describe(withText(record, text("txt")), `${path}: ${key}`, o);
  if (described.captions.length === 0 && o.isCaptionOptional !== true)
    return skip({ kind: "no caption", id, reason: noCaption("its .txt", "its .json", o) });
  const [, bytes] = picture;
  yield { id, hash: contentHash(bytes), bytes, ...described };
}
