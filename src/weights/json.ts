/** JSON files of a model. */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { parseJson } from "../core/json.ts";
import type { ModelFiles } from "./files.ts";
import { decodeUtf8 } from "./utf8.ts";

/** The longest JSON file that is read: the vocabulary of a tokenizer takes 3 MB, a shard index of SDXL 0.2 MB. */
export const maxJsonBytes = 64_000_000;

/**
 * A JSON file of the model.
 * @throws KoalaError E_FILE when it is missing or too long, E_CONFIG when it is not JSON
 */
export async function readJson(files: ModelFiles, path: string): Promise<unknown> {
  const where = `${files.location}/${path}`;
  const bytes = await files.size(path);
  check(bytes <= maxJsonBytes, "E_FILE", () => ({
    where,
    expected: `a JSON file of at most ${maxJsonBytes} bytes`,
    got: `${bytes}`,
  }));
  const text = decodeUtf8(await files.read(path, 0, bytes));
  try {
    return parseJson(text ?? "");
  } catch {
    throw new KoalaError("E_CONFIG", {
      where,
      expected: "JSON",
      got: bytes === 0 ? "an empty file" : "text that is not JSON",
    });
  }
}
