/** Downloads that continue by byte range where they stopped, and are checked against size and hash. */

import { createHash, type Hash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { check } from "../core/assert.ts";
import { outputError } from "./files.ts";
import { type Connection, IdleLimit, networkHint, Passing, request, withRetries } from "./hub-http.ts";

/** What a file must be. */
export interface Expected {
  readonly size: number;
  /** SHA-256 of a large file, or git's own hash of a small one: SHA-1 of `blob SIZE\0` and the content. */
  readonly hash: { readonly kind: "sha256" | "git"; readonly hex: string };
}

const newHash = ({ size, hash }: Expected): Hash =>
  hash.kind === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);

/**
 * Downloads `url` into the file `path`, continuing what is there, until size and hash are right.
 * `onBytes` gets the bytes in the file so far.
 * @throws KoalaError E_HUB, E_CHECKSUM, E_DISK
 */
export async function fetchFile(
  url: string,
  path: string,
  o: { where: string; expected: Expected; connection: Connection; onBytes(bytes: number): void },
): Promise<void> {
  const { where, expected, connection } = o;
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT).catch((error) => {
    throw outputError(path, error);
  });
  try {
    const file = await Growing.resume(handle, path, expected);
    let mismatches = 0;
    for (;;) {
      o.onBytes(file.bytes);
      await withRetries(() => append(url, file, o), `${expected.size} bytes`, where, connection);
      const got = file.digest();
      if (got === expected.hash.hex) return;
      await file.restart();
      // once may be a damaged byte on the way or a bad piece of an earlier run; twice is not chance
      check(++mismatches < 2, "E_CHECKSUM", () => ({
        where,
        expected: `${expected.hash.kind === "sha256" ? "SHA-256" : "git hash"} ${expected.hash.hex}`,
        got: `${got}, twice`,
        hint: "The file is not what the hub promises: a proxy may change it, or its copy is damaged. Try another network or HF_ENDPOINT.",
      }));
    }
  } finally {
    await handle.close();
  }
}

/** One connection's worth of the file. @throws Passing when the end has not come */
async function append(
  url: string,
  file: Growing,
  o: { where: string; expected: Expected; connection: Connection; onBytes(bytes: number): void },
): Promise<void> {
  const { where, expected, connection } = o;
  if (file.bytes === expected.size) return;
  const before = file.bytes;
  const limit = new IdleLimit(connection);
  try {
    // identity: a compressed answer has no byte ranges of the file
    const headers = { "accept-encoding": "identity", ...(before > 0 ? { range: `bytes=${before}-` } : {}) };
    const response = await request(url, { headers }, where, connection, limit);
    const range = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "");
    if (before > 0 && !(response.status === 206 && Number(range?.[1]) === before)) await file.restart();
    for await (const piece of response.body ?? []) {
      limit.touch();
      check(file.bytes + piece.length <= expected.size, "E_CHECKSUM", () => ({
        where,
        expected: `${expected.size} bytes`,
        got: "more",
        hint: "The file is not what the hub promises: a proxy may change it. Try another network or HF_ENDPOINT.",
      }));
      await file.append(piece);
      o.onBytes(file.bytes);
    }
    if (file.bytes < expected.size) {
      throw new Passing(`an end after ${file.bytes}`, networkHint, { hasProgressed: file.bytes > before });
    }
  } catch (error) {
    // the hub's file ends before what is here: this is a piece of another one
    if (error instanceof Passing && error.status === 416) await file.restart();
    throw limit.explain(error, file.bytes > before);
  } finally {
    limit.end();
  }
}

/** A file that grows, and the hash of what it holds. */
class Growing {
  bytes = 0;
  private hash: Hash;
  private readonly handle: FileHandle;
  private readonly path: string;
  private readonly expected: Expected;

  private constructor(handle: FileHandle, path: string, expected: Expected) {
    this.handle = handle;
    this.path = path;
    this.expected = expected;
    this.hash = newHash(expected);
  }

  /** With what the file holds already. */
  static async resume(handle: FileHandle, path: string, expected: Expected): Promise<Growing> {
    const file = new Growing(handle, path, expected);
    const { size } = await handle.stat();
    if (size > expected.size) {
      await file.restart();
      return file;
    }
    for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) file.hash.update(piece);
    file.bytes = size;
    return file;
  }

  async append(piece: Uint8Array): Promise<void> {
    try {
      let written = 0;
      while (written < piece.length) {
        const rest = piece.length - written;
        written += (await this.handle.write(piece, written, rest, this.bytes + written)).bytesWritten;
      }
    } catch (error) {
      throw outputError(this.path, error);
    }
    this.hash.update(piece);
    this.bytes += piece.length;
  }

  async restart(): Promise<void> {
    await this.handle.truncate(0);
    this.hash = newHash(this.expected);
    this.bytes = 0;
  }

  /** Once only, at the end or before `restart`. */
  digest(): string {
    return this.hash.digest("hex");
  }
}
