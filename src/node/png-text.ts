/**
 * The text chunks of a PNG: tEXt for Latin-1, iTXt (UTF-8) for all else, as Pillow and A1111's web UI write them; zTXt
 * and compressed iTXt are read too. Source: PNG specification, third edition, sections 5.3 and 11.3.3.
 * sharp neither writes these chunks nor reads iTXt. Files may come from anyone: lengths, counts and inflated sizes are bounded.
 */

import { crc32, inflateSync } from "node:zlib";
import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";

const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
/** Signature and IHDR, which always comes first: 8 bytes, then 4 length, 4 name, 13 data, 4 CRC. */
const headerBytes = 33;
/** All text of a picture together; the longest request that we write takes about 90 kB. */
const maxTextBytes = 1 << 20;

const latin1 = new TextDecoder("latin1");
const utf8 = new TextDecoder("utf-8", { fatal: true });

function chunk(name: string, data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(12 + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(name, 4, "latin1");
  bytes.set(data, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, 8 + data.length)), 8 + data.length);
  return bytes;
}

function textChunk(keyword: string, value: string): Buffer {
  const text = value.replaceAll("\0", " "); // NUL is forbidden in all text chunks
  const isLatin1 = [...text].every((letter) => (letter.codePointAt(0) ?? 0) < 256);
  return isLatin1
    ? chunk("tEXt", Buffer.from(`${keyword}\0${text}`, "latin1"))
    : chunk("iTXt", Buffer.from(`${keyword}\0\0\0\0\0${text}`, "utf8"));
}

/** The PNG with a text chunk an entry, right behind its header. Keywords: 1 to 79 Latin-1 letters. */
export function withText(png: Uint8Array, texts: Readonly<Record<string, string>>): Uint8Array<ArrayBuffer> {
  const chunks = Object.entries(texts).map(([keyword, text]) => textChunk(keyword, text));
  const parts = [png.subarray(0, headerBytes), ...chunks, png.subarray(headerBytes)];
  const bytes = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The part of `data` before the first NUL from `start` on, and where the next part begins. */
function upToNul(data: Uint8Array, start: number): { part: string; next: number } | null {
  const end = data.indexOf(0, start);
  return end < 0 ? null : { part: latin1.decode(data.subarray(start, end)), next: end + 1 };
}

/** Keyword and text of one text chunk; null where its layout is broken. Inflates to at most `room` bytes. */
function parseText(name: string, data: Uint8Array, room: number): { keyword: string; text: string } | null {
  const head = upToNul(data, 0);
  if (head === null) return null;
  const keyword = head.part;
  const inflate = (bytes: Uint8Array): Uint8Array => inflateSync(bytes, { maxOutputLength: room });
  try {
    if (name === "tEXt") return { keyword, text: latin1.decode(data.subarray(head.next)) };
    if (name === "zTXt") return { keyword, text: latin1.decode(inflate(data.subarray(head.next + 1))) };
    const isCompressed = data[head.next] === 1;
    const language = upToNul(data, head.next + 2);
    const translated = language === null ? null : upToNul(data, language.next);
    if (translated === null) return null;
    const bytes = data.subarray(translated.next);
    return { keyword, text: utf8.decode(isCompressed ? inflate(bytes) : bytes) };
  } catch {
    return null; // not zlib, larger than the room, or not UTF-8
  }
}

/**
 * All text of a PNG by keyword; the first of equal keywords counts. `where` names the picture in errors.
 * @throws KoalaError E_IMAGE when it is no PNG, is cut off or a text chunk is broken or too long
 */
export function readText(png: Uint8Array, where: string): Record<string, string> {
  const broken = (expected: string, got: string): KoalaError =>
    new KoalaError("E_IMAGE", { where, expected, got });
  if (!signature.every((byte, i) => png[i] === byte))
    throw broken("a PNG picture", "a file that does not begin like one");
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const texts = new Map<string, string>();
  let room = maxTextBytes;
  let at = signature.length;
  while (at + 12 <= png.length) {
    const length = view.getUint32(at);
    const name = latin1.decode(png.subarray(at + 4, at + 8));
    const end = at + 8 + length;
    if (end + 4 > png.length)
      throw broken(`${length} bytes of chunk ${name} at byte ${at}`, "the end of the file");
    if (name === "tEXt" || name === "zTXt" || name === "iTXt") {
      check(length <= room, "E_IMAGE", () => ({
        where,
        expected: `at most ${maxTextBytes} bytes of text`,
        got: `a chunk ${name} of ${length} bytes at byte ${at}`,
      }));
      const right = crc32(png.subarray(at + 4, end));
      if (view.getUint32(end) !== right)
        throw broken(`chunk ${name} at byte ${at} as it was written`, "other bytes (CRC)");
      const entry = parseText(name, png.subarray(at + 8, end), room);
      if (entry === null) throw broken(`readable text in chunk ${name} at byte ${at}`, "something else");
      room -= Math.max(length, entry.text.length);
      if (!texts.has(entry.keyword)) texts.set(entry.keyword, entry.text);
    }
    if (name === "IEND") return Object.fromEntries(texts);
    at = end + 4;
  }
  throw broken("a chunk IEND at the end", "the end of the file");
}
