/**
 * Parquet files: one row a picture, which lies in a column of bytes (as Hugging Face's data sets have it, `image` with
 * `bytes` and `path`) or in a file that a column names. Row groups are read one at a time.
 */

import { open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { AsyncBuffer, FileMetaData } from "hyparquet";
import { KoalaError } from "../../core/errors.ts";
import {
  captionFields,
  checkColumns,
  type DataRecord,
  describe,
  type RecordOptions,
} from "../../train/data/record.ts";
import type { DataSource, RawSample, Skipped } from "../../train/data/sample.ts";
import { openFile, readRange } from "../files.ts";
import { readPictureBytes } from "../image-file.ts";
import { contentHash } from "./hash.ts";

/** Columns that may hold the picture or its file's name, in the order in which they are tried. */
export const pictureColumns: readonly string[] = [
  "image",
  "jpg",
  "png",
  "webp",
  "image_bytes",
  "bytes",
  "file_name",
  "filename",
  "image_path",
  "path",
  "url",
  "URL",
];

export interface ParquetOptions extends RecordOptions {
  /** Column of the picture or its file's name; absent: the first of `pictureColumns` that is there. */
  readonly picture?: string;
  /** Folder that file names are relative to; absent: the parquet file's. Of a URL, the last part of its path is the name. */
  readonly pictures?: string;
}

interface Table {
  readonly file: AsyncBuffer;
  readonly metadata: FileMetaData;
  readonly pictureColumn: string;
  /** Those that are read. */
  readonly columns: readonly string[];
  close(): Promise<void>;
}

/**
 * `path` is a parquet file. Its footer is read now, its rows when the samples are.
 * @throws KoalaError E_FILE when it is no parquet file or damaged, E_CONFIG when it lacks a column
 */
export async function openParquet(path: string, o: ParquetOptions = {}): Promise<DataSource> {
  await openFile(path);
  const table = await openTable(path, o);
  await table.close();
  return {
    name: path,
    key: JSON.stringify({ path, ...o }),
    count: Number(table.metadata.num_rows),
    samples: (skip) => samples(path, o, skip),
  };
}

const damaged = (path: string, cause: unknown): KoalaError =>
  new KoalaError("E_FILE", {
    where: path,
    expected: "a whole parquet file",
    got: (cause as Error).message,
    hint: "The file is damaged or was not fetched to its end: fetch it again.",
    cause,
  });

async function openTable(path: string, o: ParquetOptions): Promise<Table> {
  const { parquetMetadataAsync, parquetSchema } = await import("hyparquet");
  const handle = await open(path, "r");
  const { size } = await handle.stat();
  const file: AsyncBuffer = {
    byteLength: size,
    async slice(start, end = size) {
      // a column of pictures may be longer than one read call takes
      return (await readRange(handle, start, Math.max(start, Math.min(end, size)))).buffer;
    },
  };
  try {
    const metadata = await parquetMetadataAsync(file).catch((cause: unknown) => {
      throw damaged(path, cause);
    });
    const columns = parquetSchema(metadata).children.map(({ element }) => element.name);
    const pictureColumn = columnOf(columns, path, o);
    checkColumns(columns, path, o);
    const wanted = new Set([pictureColumn, ...(o.captions ?? captionFields), o.group, o.weight]);
    const read = columns.filter((name) => wanted.has(name));
    return { file, metadata, pictureColumn, columns: read, close: () => handle.close() };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function columnOf(columns: readonly string[], path: string, o: ParquetOptions): string {
  const candidates = o.picture === undefined ? pictureColumns : [o.picture];
  const found = candidates.find((name) => columns.includes(name));
  if (found !== undefined) return found;
  throw new KoalaError("E_CONFIG", {
    where: path,
    expected: `a column of pictures or of their file names: ${candidates.join(", ")}`,
    got: `the columns ${columns.join(", ")}`,
    hint: "Name the column that holds the pictures.",
  });
}

async function* samples(
  path: string,
  o: ParquetOptions,
  skip: (skipped: Skipped) => void,
): AsyncGenerator<RawSample> {
  const { parquetReadObjects } = await import("hyparquet");
  const { compressors } = await import("hyparquet-compressors");
  const table = await openTable(path, o);
  const { file, metadata, columns } = table;
  const root = o.pictures ?? dirname(path);
  try {
    let first = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = first + Number(group.num_rows);
      const read = { file, metadata, compressors, columns: [...columns], utf8: false };
      const rows: DataRecord[] = await parquetReadObjects({ ...read, rowStart: first, rowEnd }).catch(
        (cause: unknown) => {
          throw damaged(path, cause);
        },
      );
      for (const [i, row] of rows.entries()) {
        const sample = await sampleOf(row, { path, row: first + i, root, column: table.pictureColumn }, o);
        if ("kind" in sample) skip(sample);
        else yield sample;
      }
      first = rowEnd;
    }
  } finally {
    await table.close();
  }
}

interface Place {
  readonly path: string;
  readonly row: number;
  readonly root: string;
  readonly column: string;
}

async function sampleOf(
  row: DataRecord,
  { path, row: index, root, column }: Place,
  o: ParquetOptions,
): Promise<RawSample | Skipped> {
  const id = `${basename(path)}#${index}`;
  const { [column]: picture, ...others } = row;
  const described = describe(decodeTexts(others), id, o);
  if (described.captions.length === 0 && o.isCaptionOptional !== true)
    return { kind: "no caption", id, reason: "its caption columns are empty" };
  try {
    const bytes = await pictureBytes(picture, root);
    if (bytes === null) return { kind: "missing file", id, reason: `its column ${column} is empty` };
    return { id, hash: contentHash(bytes), bytes, ...described };
  } catch (error) {
    const kind = error instanceof KoalaError && error.code === "E_FILE" ? "missing file" : "broken";
    return { kind, id, reason: (error as Error).message };
  }
}

/** Text columns that the file does not mark as text come as bytes. */
const decodeTexts = (row: DataRecord): DataRecord =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? new TextDecoder().decode(value) : value,
    ]),
  );

/** The picture of a cell: its bytes, those of a struct with `bytes` or `path`, or of the file that a text names; null for none. */
async function pictureBytes(cell: unknown, root: string): Promise<Uint8Array<ArrayBuffer> | null> {
  if (cell === null || cell === undefined) return null;
  if (typeof cell === "string") return readPictureBytes(join(root, fileName(cell)));
  if (cell instanceof Uint8Array) {
    const name = asFileName(cell);
    return name === null ? new Uint8Array(cell) : readPictureBytes(join(root, fileName(name)));
  }
  const { bytes, path } = cell as { bytes?: unknown; path?: unknown };
  return bytes === null || bytes === undefined ? pictureBytes(path, root) : pictureBytes(bytes, root);
}

/** Longest file name that is looked for in unmarked bytes: Linux's PATH_MAX. No picture is as short and ends like a name. */
const longestName = 4096;

function asFileName(bytes: Uint8Array): string | null {
  if (bytes.length > longestName) return null;
  const text = new TextDecoder().decode(bytes);
  return /^[^\0\r\n]+\.(png|jpe?g|webp)([?#].*)?$/i.test(text) ? text : null;
}

/** A path as it stands; of a URL the last part of its path, since nothing is downloaded. */
function fileName(text: string): string {
  if (!/^[a-z]+:\/\//i.test(text)) return text;
  const { pathname } = new URL(text);
  return decodeURIComponent(pathname.slice(pathname.lastIndexOf("/") + 1));
}
