/** Files of prompts that flags name. */

import { readFile } from "node:fs/promises";
import { check } from "../../core/assert.ts";

/** The lines of `path` that say something, without space around them. @throws KoalaError E_FLAG in the name of `flag` */
export async function promptLines(path: string, flag: string): Promise<readonly string[]> {
  const text = await readFile(path, "utf8").catch(() => null);
  check(text !== null, "E_FLAG", () => ({
    where: flag,
    expected: "a text file of prompts, one a line",
    got: path,
    hint: "There is no such file, or it may not be read.",
  }));
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}
