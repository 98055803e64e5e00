/** A model whose files are in memory: what a page was handed, or a test made. */

import { check } from "../core/assert.ts";
import type { ModelFiles } from "./files.ts";
import { encodeUtf8 } from "./utf8.ts";

/** `contents` by relative path; text is stored as UTF-8. */
export function memoryFiles(
  location: string,
  contents: Readonly<Record<string, string | Uint8Array<ArrayBuffer>>>,
): ModelFiles {
  const files = new Map(
    Object.entries(contents).map(([path, data]) => [
      path,
      typeof data === "string" ? encodeUtf8(data) : data,
    ]),
  );

  function bytesOf(path: string): Uint8Array<ArrayBuffer> {
    const bytes = files.get(path);
    check(bytes !== undefined, "E_FILE", () => ({
      where: `${location}/${path}`,
      expected: "a file",
      got: "nothing",
    }));
    return bytes;
  }

  return {
    location,
    list: async () => [...files.keys()],
    size: async (path) => bytesOf(path).length,
    async read(path, start, end) {
      const bytes = bytesOf(path);
      check(end <= bytes.length, "E_FILE", () => ({
        where: `${location}/${path}`,
        expected: `${end} bytes`,
        got: `${bytes.length}`,
      }));
      return bytes.slice(start, end);
    },
    localPath: () => null,
  };
}
