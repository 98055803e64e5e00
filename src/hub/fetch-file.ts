/** Downloads that continue by byte range where they stopped, and are checked against size and hash. */

import { check } from "../core/assert.ts";
import { type Connection, IdleLimit, networkHint, Passing, piecesOf, request, withRetries } from "./http.ts";

/** What a file must be. */
export interface Expected {
  readonly size: number;
  /** SHA-256 of a large file, or git's own hash of a small one: SHA-1 of `blob SIZE\0` and the content. */
  readonly hash: { readonly kind: "sha256" | "git"; readonly hex: string };
}

/** A file that grows, and the hash of what it holds. */
export interface GrowingFile {
  /** In it so far. */
  readonly bytes: number;
  append(piece: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Empties it. */
  restart(): Promise<void>;
  /** Once only, at the end or before `restart`; hexadecimal. */
  digest(): string;
}

/**
 * Downloads `url` into `file`, continuing what is there, until size and hash are right. `onBytes` gets the bytes in the
 * file so far.
 * @throws KoalaError E_HUB, E_CHECKSUM, and what `file` throws
 */
export async function fetchFile(
  url: string,
  file: GrowingFile,
  o: { where: string; expected: Expected; connection: Connection; onBytes(bytes: number): void },
): Promise<void> {
  const { where, expected, connection } = o;
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
}

/** One connection's worth of the file. @throws Passing when the end has not come */
async function append(
  url: string,
  file: GrowingFile,
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
    for await (const piece of piecesOf(response)) {
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
