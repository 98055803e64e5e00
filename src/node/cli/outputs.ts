/** Where pictures go: names that say what they are and never take another file's place unasked. */

import { existsSync, statSync } from "node:fs";
import { extname, join } from "node:path";
import { check } from "../../core/assert.ts";
import { pictureFormat } from "../image-file.ts";

/** Letters and digits of the prompt, as many as a file listing shows well. */
function slug(prompt: string): string {
  const words = prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  let name = "";
  for (const word of words) {
    if (`${name}-${word}`.length > 40) break;
    name = name === "" ? word : `${name}-${word}`;
  }
  return name === "" ? "" : `${name}-`;
}

/** `stem` and `extension` with the picture's number between, where there are several. */
const numbered = (stem: string, extension: string, count: number): string[] =>
  count === 1 ? [stem + extension] : Array.from({ length: count }, (_, i) => `${stem}-${i}${extension}`);

function freeNames(folder: string, prompt: string, seed: number, count: number): string[] {
  for (let attempt = 1; ; attempt++) {
    const stem = join(folder, `koala-${slug(prompt)}${seed}${attempt === 1 ? "" : `_${attempt}`}`);
    const names = numbered(stem, ".png", count);
    if (!names.some((name) => existsSync(name))) return names;
  }
}

/**
 * The file of every picture. `output` may be a file (which may exist: it was asked for by name), a name without
 * extension (a PNG) or an existing folder; without it, a free name in the current folder.
 * @throws KoalaError E_OUTPUT for a format that we do not write, or a folder that is not there
 */
export function outputPaths(
  output: string | undefined,
  prompt: string,
  seed: number,
  count: number,
): string[] {
  if (output === undefined) return freeNames("", prompt, seed, count);
  if (isFolder(output)) return freeNames(output, prompt, seed, count);
  check(output !== "" && !/[\\/]$/.test(output), "E_OUTPUT", () => ({
    where: "--output",
    expected: "a picture's name or a folder that is there",
    got: output === "" ? "an empty one" : output,
    ...(output === "" ? {} : { hint: `Make it first: mkdir -p ${output}` }),
  }));
  const extension = extname(output);
  if (extension === "") return numbered(output, ".png", count);
  pictureFormat(output);
  return numbered(output.slice(0, -extension.length), extension, count);
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false; // whether it can be written is another question
  }
}

/** A free name beside `path` where its rough pictures show up while it is made. */
export function previewPath(path: string): string {
  const stem = `${path.slice(0, -extname(path).length)}.preview`;
  for (let attempt = 1; ; attempt++) {
    const name = `${stem}${attempt === 1 ? "" : `_${attempt}`}.png`;
    if (!existsSync(name)) return name;
  }
}
