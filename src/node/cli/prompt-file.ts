/** Files of prompts that flags name. */

import { readFile } from "node:fs/promises";
import { check } from "../../core/assert.ts";
import { decodeUtf8 } from "../../weights/utf8.ts";

/** The lines of `path` that say something, without space around them. @throws KoalaError E_FLAG in the name of `flag` */
export async function promptLines(path: string, flag: string): Promise<readonly string[]> {
  const bytes = await readFile(path).catch(() => null);
  const text = bytes === null ? null : decodeUtf8(bytes);
  check(text !== null && !text.includes("\0"), "E_FLAG", () => ({
    where: flag,
    expected: "a text file of prompts, one a line",
    got: path,
    hint: bytes === null ? "There is no such file, or it may not be read." : "It is no text in UTF-8.",
  }));
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}
