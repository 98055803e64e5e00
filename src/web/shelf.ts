/**
 * Where a browser keeps models: the origin-private file system, in a worker, or memory where there is none (private
 * windows of some browsers). A model is one folder of flat files and a record of what has been checked; the record is
 * written after the file, so what it names is whole.
 */

import { sha1 } from "@noble/hashes/legacy.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import type { Expected, GrowingFile } from "../hub/fetch-file.ts";
import type { ModelFiles } from "../weights/files.ts";

/** What is known of a model that is kept, or was begun. */
export interface ShelfRecord {
  readonly location: string;
  /** Bytes of all its files. */
  readonly bytes: number;
  /** All its files, by path: the hash that each must have. */
  readonly files: Readonly<Record<string, Expected>>;
  /** Paths of those that are here and were checked. */
  readonly checked: readonly string[];
}

export interface Shelf {
  /** Whether what is on it outlives the page. */
  readonly isKept: boolean;
  records(): Promise<readonly ShelfRecord[]>;
  record(location: string): Promise<ShelfRecord | null>;
  write(record: ShelfRecord): Promise<void>;
  /** Bytes of a file that are here, checked or not. */
  begun(location: string, path: string): Promise<number>;
  /** The file as it is, to go on with. The caller closes it. @throws KoalaError E_CONFLICT while another tab writes it */
  grow(location: string, path: string, expected: Expected): Promise<GrowingFile & { close(): void }>;
  /** The checked files of a model. */
  files(record: ShelfRecord): ModelFiles;
  remove(location: string): Promise<void>;
}

const recordName = "record.json";

const newHash = ({ size, hash }: Expected) =>
  hash.kind === "sha256" ? sha256.create() : sha1.create().update(new TextEncoder().encode(`blob ${size}\0`));

const hex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

/** Bytes hashed at a time when a file is gone on with. */
const CHUNK = 4 * 2 ** 20;

/** What both kinds of place can do with one file. */
interface Bytes {
  size(): number;
  read(into: Uint8Array<ArrayBuffer>, at: number): void;
  write(piece: Uint8Array<ArrayBuffer>, at: number): void;
  truncate(): void;
  close(): void;
}

class Growing implements GrowingFile {
  bytes = 0;
  #hash: ReturnType<typeof newHash>;
  readonly #file: Bytes;
  readonly #expected: Expected;

  constructor(file: Bytes, expected: Expected) {
    this.#file = file;
    this.#expected = expected;
    this.#hash = newHash(expected);
    const size = file.size();
    if (size > expected.size) file.truncate();
    else
      while (this.bytes < size) {
        const piece = new Uint8Array(Math.min(CHUNK, size - this.bytes));
        file.read(piece, this.bytes);
        this.#hash.update(piece);
        this.bytes += piece.length;
      }
  }

  async append(piece: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      this.#file.write(piece, this.bytes);
    } catch (cause) {
      throw new KoalaError("E_DISK", {
        where: "this browser's storage",
        expected: `room for ${this.#expected.size} bytes`,
        got: cause instanceof Error ? cause.message : String(cause),
        hint: "Remove a model that is kept here, or free space on the device; what has come is kept.",
        cause,
      });
    }
    this.#hash.update(piece);
    this.bytes += piece.length;
  }

  async restart(): Promise<void> {
    this.#file.truncate();
    this.#hash = newHash(this.#expected);
    this.bytes = 0;
  }

  digest(): string {
    return hex(this.#hash.digest());
  }

  close(): void {
    this.#file.close();
  }
}

function modelFiles(
  record: ShelfRecord,
  read: (path: string, start: number, end: number) => Promise<Uint8Array<ArrayBuffer>>,
): ModelFiles {
  const sizeOf = (path: string): number => {
    const isThere = record.checked.includes(path);
    const expected = isThere ? record.files[path] : undefined;
    check(expected !== undefined, "E_FILE", () => ({
      where: `${record.location}/${path}`,
      expected: "a file",
      got: "nothing",
    }));
    return expected.size;
  };
  return {
    location: record.location,
    list: async () => record.checked,
    size: async (path) => sizeOf(path),
    async read(path, start, end) {
      check(end <= sizeOf(path), "E_FILE", () => ({
        where: `${record.location}/${path}`,
        expected: `${end} bytes`,
        got: `${sizeOf(path)}`,
      }));
      const bytes = await read(path, start, end).catch((cause: unknown) => {
        const { name } = cause as { readonly name?: string };
        if (name === "NotFoundError" || name === "NotReadableError") return new Uint8Array(0);
        throw cause;
      });
      check(bytes.length === end - start, "E_FILE", () => ({
        where: `${record.location}/${path}`,
        expected: `${end} bytes`,
        got: bytes.length === 0 ? "nothing" : `${start + bytes.length}`,
        hint: "The browser has taken away what was stored: fetch the model again.",
      }));
      return bytes;
    },
    localPath: () => null,
  };
}

/** The origin-private file system; null where this browser or window has none. Only a worker may write in place. */
export async function opfsShelf(): Promise<Shelf | null> {
  const hasHandles =
    typeof FileSystemFileHandle === "function" && "createSyncAccessHandle" in FileSystemFileHandle.prototype;
  if (!hasHandles) return null;
  const top = await navigator.storage
    .getDirectory()
    .then((root) => root.getDirectoryHandle("koala", { create: true }))
    .catch(() => null);
  if (top === null) return null;

  const folderOf = (location: string, create: boolean): Promise<FileSystemDirectoryHandle> =>
    top.getDirectoryHandle(encodeURIComponent(location), { create });
  const fileOf = async (location: string, path: string, create: boolean): Promise<FileSystemFileHandle> =>
    (await folderOf(location, create)).getFileHandle(encodeURIComponent(path), { create });

  async function readRecord(folder: FileSystemDirectoryHandle): Promise<ShelfRecord | null> {
    try {
      const file = await (await folder.getFileHandle(recordName)).getFile();
      return JSON.parse(await file.text()) as ShelfRecord;
    } catch {
      return null; // none yet, or one that a crash cut short: the files are checked again
    }
  }

  return {
    isKept: true,
    async records() {
      const found: ShelfRecord[] = [];
      for await (const handle of top.values()) {
        const record =
          handle.kind === "directory" ? await readRecord(handle as FileSystemDirectoryHandle) : null;
        if (record !== null) found.push(record);
      }
      return found;
    },
    async record(location) {
      const folder = await folderOf(location, false).catch(() => null);
      return folder === null ? null : readRecord(folder);
    },
    async write(record) {
      const handle = await fileOf(record.location, recordName, true);
      const writer = await handle.createWritable(); // swapped in whole when closed
      await writer.write(JSON.stringify(record));
      await writer.close();
    },
    begun: (location, path) =>
      fileOf(location, path, false)
        .then((handle) => handle.getFile())
        .then(
          ({ size }) => size,
          () => 0,
        ),
    async grow(location, path, expected) {
      const handle = await fileOf(location, path, true);
      const access = await handle.createSyncAccessHandle().catch((cause: unknown) => {
        throw new KoalaError("E_CONFLICT", {
          where: `${location}/${path}`,
          expected: "a file that only this page writes",
          got: "one that another tab is writing",
          hint: "Let that tab finish, or close it.",
          cause,
        });
      });
      return new Growing(
        {
          size: () => access.getSize(),
          read: (into, at) => access.read(into, { at }),
          write(piece, at) {
            const written = access.write(piece, { at });
            if (written !== piece.length) throw new Error("the storage is full");
          },
          truncate: () => access.truncate(0),
          close() {
            access.flush();
            access.close();
          },
        },
        expected,
      );
    },
    files: (record) =>
      modelFiles(record, async (path, start, end) => {
        const file = await (await fileOf(record.location, path, false)).getFile();
        return new Uint8Array(await file.slice(start, end).arrayBuffer());
      }),
    async remove(location) {
      await top.removeEntry(encodeURIComponent(location), { recursive: true }).catch(() => {});
    },
  };
}

/** The page's own memory: gone with the page. */
export function memoryShelf(): Shelf {
  const records = new Map<string, ShelfRecord>();
  const contents = new Map<string, Uint8Array<ArrayBuffer>>();
  const filled = new Map<string, number>();
  const key = (location: string, path: string): string => `${location}\n${path}`;
  return {
    isKept: false,
    records: async () => [...records.values()],
    record: async (location) => records.get(location) ?? null,
    async write(record) {
      records.set(record.location, record);
    },
    begun: async (location, path) => filled.get(key(location, path)) ?? 0,
    async grow(location, path, expected) {
      const its = key(location, path);
      const data = contents.get(its) ?? new Uint8Array(expected.size);
      contents.set(its, data);
      return new Growing(
        {
          size: () => filled.get(its) ?? 0,
          read: (into, at) => into.set(data.subarray(at, at + into.length)),
          write(piece, at) {
            data.set(piece, at);
            filled.set(its, at + piece.length);
          },
          truncate: () => filled.set(its, 0),
          close() {},
        },
        expected,
      );
    },
    files: (record) =>
      modelFiles(record, async (path, start, end) =>
        (contents.get(key(record.location, path)) ?? new Uint8Array(0)).slice(start, end),
      ),
    async remove(location) {
      records.delete(location);
      for (const its of [...contents.keys()].filter((name) => name.startsWith(`${location}\n`))) {
        contents.delete(its);
        filled.delete(its);
      }
    },
  };
}
