/** The text chunks of a PNG in Node, whose zlib inflates the packed ones. sharp neither writes these chunks nor reads iTXt. */

import { inflateSync } from "node:zlib";
import { type StoredText, storedTexts, TextReader } from "../image/png.ts";

export { withText } from "../image/png.ts";

/** Null where it is not zlib, or larger than the room. */
function inflated({ bytes, isDeflated }: StoredText, room: number): Uint8Array | null {
  if (!isDeflated) return bytes;
  try {
    return inflateSync(bytes, { maxOutputLength: Math.max(room, 1) });
  } catch {
    return null;
  }
}

/**
 * All text of a PNG by keyword; the first of equal keywords counts. `where` names the picture in errors.
 * @throws KoalaError E_IMAGE when it is no PNG, is cut off or a text chunk is broken or too long
 */
export function readText(png: Uint8Array, where: string): Record<string, string> {
  const reader = new TextReader(where);
  for (const stored of storedTexts(png, where)) reader.add(stored, inflated(stored, reader.room));
  return reader.texts;
}
