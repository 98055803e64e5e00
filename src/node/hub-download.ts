/** Where a download ends up on this machine: a file that may hold a part of it already. */

import { createHash, type Hash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { check } from "../core/assert.ts";
import { type Expected, fetchFile, type GrowingFile } from "../hub/fetch-file.ts";
import type { Connection } from "../hub/http.ts";
import { outputError } from "./files.ts";

const newHash = ({ size, hash }: Expected): Hash =>
  hash.kind === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);

/**
 * Downloads `url` into the file `path`, continuing what is there, until size and hash are right, and the file on the disk
 * is of that size.
 * @throws KoalaError E_HUB, E_CHECKSUM, E_DISK, E_OUTPUT
 */
export async function fetchToPath(
  url: string,
  path: string,
  o: { where: string; expected: Expected; connection: Connection; onBytes(bytes: number): void },
): Promise<void> {
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT).catch((error) => {
    throw outputError(path, error);
  });
  try {
    const file = await Growing.resume(handle, path, o.expected);
    for (let tries = 1; ; tries++) {
      await fetchFile(url, file, o);
      const bytes = await file.bytesOnDisk();
      if (bytes === o.expected.size) return;
      await file.restart();
      // the hash is of what was written here: it says nothing of what another process has written into the same file
      check(tries < 2, "E_CHECKSUM", () => ({
        where: o.where,
        expected: `${o.expected.size} bytes on the disk`,
        got: `${bytes}, twice`,
        hint: `Another program writes into ${path}: end it, then try again.`,
      }));
    }
  } finally {
    await handle.close();
  }
}

/** A file on this machine that grows. */
class Growing implements GrowingFile {
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
    if (size === 0) return file;
    for await (const piece of createReadStream(path, { end: size - 1 }) as AsyncIterable<Buffer>) {
      file.hash.update(piece);
      file.bytes += piece.length;
    }
    return file;
  }

  async append(piece: Uint8Array<ArrayBuffer>): Promise<void> {
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

  /** As the file system has them once all is written. @throws KoalaError E_DISK, E_OUTPUT */
  async bytesOnDisk(): Promise<number> {
    await this.handle.datasync().catch((error) => {
      throw outputError(this.path, error);
    });
    return (await this.handle.stat()).size;
  }

  digest(): string {
    return this.hash.digest("hex");
  }
}
