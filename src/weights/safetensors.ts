/**
 * Reads the safetensors format: 8 bytes of header length (little-endian), a JSON header that names tensors
 * and their byte ranges, then the data. Source: the README of huggingface/safetensors, section "Format".
 * Looking reads the header alone; a tensor's bytes are read when it is asked for, and nothing is allocated on
 * the word of a file before its length has been checked against the file's size.
 */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { type DType, dtypes, viewAs } from "../tensor/dtype.ts";
import { type Shape, show, size } from "../tensor/shape.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ModelFiles } from "./files.ts";
import { decodeUtf8 } from "./utf8.ts";

/** The longest header that is read: the limit of the reference implementation (safetensors 0.8, `MAX_HEADER_SIZE`). */
export const maxHeaderBytes = 100_000_000;

/** Where one tensor lies; `start` and `end` count from the first byte after the header. */
export interface HeaderEntry {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly start: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, HeaderEntry>;
  /** The free text of `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
}

export interface SafetensorsFile extends TensorStore {
  readonly metadata: ReadonlyMap<string, string>;
}

/** The header's dtype names that this package has no type for; they exist, so a message may call them by name. */
const unreadableDtypes = new Set([
  "U64",
  "U32",
  "F8_E4M3",
  "F8_E5M2",
  "F8_E8M0",
  "F4",
  "F6_E2M3",
  "F6_E3M2",
  "C64",
]);

const dtypeByName: ReadonlyMap<string, DType> = new Map(
  Object.entries(dtypes).map(([dtype, facts]) => [facts.safetensors, dtype as DType]),
);

function fail(where: string, expected: string, got: string, hint?: string): never {
  throw new KoalaError("E_SAFETENSORS", { where, expected, got, ...(hint === undefined ? {} : { hint }) });
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/**
 * A name met twice among the keys of the outermost object, or null: `JSON.parse` would keep the last one silently.
 * `json` has been parsed before, so its grammar needs no second check.
 */
function duplicateKey(json: string): string | null {
  const seen = new Set<string>();
  let depth = 0;
  let isKeyNext = false;
  for (let i = 0; i < json.length; i++) {
    const c = json[i];
    if (c === "{" || c === "[") isKeyNext = ++depth === 1;
    else if (c === "}" || c === "]") depth--;
    else if (c === ",") isKeyNext = depth === 1;
    else if (c === '"') {
      const start = i;
      for (i++; json[i] !== '"'; i++) if (json[i] === "\\") i++;
      if (!isKeyNext) continue;
      isKeyNext = false;
      const key = JSON.parse(json.slice(start, i + 1)) as string;
      if (seen.has(key)) return key;
      seen.add(key);
    }
  }
  return null;
}

function parseEntry(value: unknown, where: string): HeaderEntry {
  if (!isObject(value)) fail(where, "an object with dtype, shape and data_offsets", JSON.stringify(value));
  const { dtype: name, shape, data_offsets: offsets } = value;
  const dtype = typeof name === "string" ? dtypeByName.get(name) : undefined;
  if (dtype === undefined) {
    const got =
      typeof name === "string" && unreadableDtypes.has(name)
        ? `${name}, which koala does not read`
        : JSON.stringify(name);
    fail(where, `a dtype of ${[...dtypeByName.keys()].join(", ")}`, got ?? "none");
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    fail(where, "a shape of whole numbers", JSON.stringify(shape) ?? "none");
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    fail(where, "data_offsets of two whole numbers", JSON.stringify(offsets) ?? "none");
  }
  const [start, end] = offsets as [number, number];
  const bytes = size(shape) * dtypes[dtype].bytes;
  if (end - start !== bytes) fail(where, `${bytes} bytes for ${name} ${show(shape)}`, `${end - start}`);
  return { dtype, shape: shape as number[], start, end };
}

/**
 * The header in `bytes`; `dataBytes` is how many bytes follow it in the file.
 * @throws KoalaError E_SAFETENSORS
 */
export function parseHeader(bytes: Uint8Array, dataBytes: number, where: string): SafetensorsHeader {
  const json = decodeUtf8(bytes);
  if (json === null) fail(where, "a header in UTF-8", "other bytes");
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    fail(where, "a header of JSON", "text that is not JSON");
  }
  if (!isObject(parsed)) fail(where, "a JSON object as header", JSON.stringify(parsed).slice(0, 40));
  const duplicate = duplicateKey(json);
  if (duplicate !== null) fail(where, "every name once", `"${duplicate}" twice`);

  const metadata = new Map<string, string>();
  const tensors = new Map<string, HeaderEntry>();
  for (const [name, value] of Object.entries(parsed)) {
    if (name !== "__metadata__") tensors.set(name, parseEntry(value, `${where}: ${name}`));
    else if (isObject(value) && Object.values(value).every((text) => typeof text === "string")) {
      for (const [key, text] of Object.entries(value)) metadata.set(key, text as string);
    } else fail(where, "__metadata__ of strings", JSON.stringify(value).slice(0, 40));
  }
  checkRanges(tensors, dataBytes, where);
  return { tensors, metadata };
}

/** The format has no gaps and no overlaps: sorted by offset, each tensor begins where the one before it ends. */
function checkRanges(tensors: ReadonlyMap<string, HeaderEntry>, dataBytes: number, where: string): void {
  const sorted = [...tensors].sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  let previous = "the header";
  let position = 0;
  for (const [name, { start, end }] of sorted) {
    if (end > dataBytes) {
      fail(
        `${where}: ${name}`,
        `its data within the ${dataBytes} bytes after the header`,
        `an end at byte ${end}`,
        "The file is truncated or its header is wrong: fetch it again.",
      );
    }
    if (start < position)
      fail(
        `${where}: ${name}`,
        `data after that of ${previous}, from byte ${position}`,
        `an overlap from byte ${start}`,
      );
    if (start > position)
      fail(
        `${where}: ${name}`,
        `data from byte ${position}, where ${previous} ends`,
        `a gap up to byte ${start}`,
      );
    previous = name;
    position = end;
  }
  if (position !== dataBytes) fail(where, `${position} bytes of data, as the header says`, `${dataBytes}`);
}

/** What the first bytes look like when they are not a safetensors file, for the hint; undefined when unknown. */
function looksLike(first: Uint8Array): string | undefined {
  const text = String.fromCharCode(...first);
  if (text.startsWith("PK\x03\x04") || text.startsWith("\x80\x02")) {
    return "It looks like a pickle checkpoint (.ckpt, .bin, .pt), which can run code when it is opened and is not read here: convert it to safetensors first.";
  }
  if (text.startsWith("version "))
    return "It looks like a Git LFS pointer, a few lines that stand for the file: run `git lfs pull` to fetch the file itself.";
  if (/^\s*<[!h?]/i.test(text))
    return "It looks like a web page saved in the file's place: fetch the file again.";
  if (text.startsWith("GGUF"))
    return "It looks like a GGUF file, which is not read here: use the safetensors original.";
  return undefined;
}

/** The header of `path` in `files`, with the byte where the data begins. */
async function readHeader(
  files: ModelFiles,
  path: string,
  where: string,
): Promise<SafetensorsHeader & { dataStart: number }> {
  const fileBytes = await files.size(path);
  if (fileBytes < 8)
    fail(
      where,
      "a safetensors file, which begins with 8 bytes of header length",
      `a file of ${fileBytes} bytes`,
    );
  const first = await files.read(path, 0, 8);
  const length = new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) {
    fail(
      where,
      `a header of at most ${maxHeaderBytes} bytes`,
      `a header length of ${length}`,
      looksLike(first),
    );
  }
  const dataStart = 8 + Number(length);
  if (dataStart > fileBytes) {
    fail(
      where,
      `a header of ${length} bytes`,
      `a file of ${fileBytes} bytes`,
      "The file is truncated: fetch it again.",
    );
  }
  const header = await files.read(path, 8, dataStart);
  return { ...parseHeader(header, fileBytes - dataStart, where), dataStart };
}

/**
 * The tensors of one file; only its header is read now.
 * @throws KoalaError E_FILE, E_SAFETENSORS
 */
export async function openSafetensors(files: ModelFiles, path: string): Promise<SafetensorsFile> {
  const where = `${files.location}/${path}`;
  const { tensors: entries, metadata, dataStart } = await readHeader(files, path, where);
  const file = files.localPath(path);
  const tensors = new Map<string, StoredTensor>();
  for (const [name, { dtype, shape, start, end }] of entries) {
    tensors.set(name, { dtype, shape, file, offset: dataStart + start, byteLength: end - start });
  }

  async function read(name: string): Promise<Tensor> {
    const stored = tensors.get(name);
    check(stored !== undefined, "E_WEIGHTS", () => ({
      where,
      expected: `a tensor "${name}"`,
      got: "none of that name",
    }));
    const { dtype, shape, offset, byteLength } = stored;
    const bytes = await files.read(path, offset, offset + byteLength);
    return { dtype, shape, data: elements(dtype, bytes) };
  }

  return { tensors, metadata, read };
}

/** `bytes` as elements: a view where they begin at a multiple of the element's size, else a copy, since typed arrays must. */
function elements(dtype: DType, bytes: Uint8Array<ArrayBuffer>): Tensor["data"] {
  const width = dtypes[dtype].bytes;
  const aligned = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  return viewAs(dtype, aligned.buffer, aligned.byteOffset, aligned.byteLength / width);
}
