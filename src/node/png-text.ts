/** The text of a picture in Node: Exif of a JPEG or WebP, and chunks of a PNG, of which zlib inflates the packed ones. sharp neither writes these chunks nor reads iTXt. */

import { inflateSync } from "node:zlib";
import { storedTextsOf } from "../image/exif.ts";
import { type StoredText, TextReader } from "../image/png.ts";

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
 * All text of a PNG, JPEG or WebP by keyword; the first of equal keywords counts. `where` names the picture in errors.
 * @throws KoalaError E_IMAGE when it is none of them, is cut off or a text chunk is broken or too long
 */
export function readText(picture: Uint8Array, where: string): Record<string, string> {
  const reader = new TextReader(where);
  for (const stored of storedTextsOf(picture, where)) reader.add(stored, inflated(stored, reader.room));
  return reader.texts;
}
