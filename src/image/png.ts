/**
 * The text chunks of a PNG: tEXt for Latin-1, iTXt (UTF-8) for all else, as Pillow and A1111's web UI write them; zTXt
 * and compressed iTXt are read too. Source: PNG specification, third edition, sections 5.3 and 11.3.3. Inflating is left to
 * where we run. Files may come from anyone: lengths, counts and inflated sizes are bounded.
 */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";

export const pngSignature: Uint8Array<ArrayBuffer> = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
/** Signature and IHDR, which always comes first: 8 bytes, then 4 length, 4 name, 13 data, 4 CRC. */
const headerBytes = 33;
/** All text of a picture together; the longest request that we write takes about 90 kB. */
export const maxTextBytes: number = 1 << 20;

const latin1 = new TextDecoder("latin1");
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Of each byte: PNG specification, annex D. */
const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let c = byte;
  for (let bit = 0; bit < 8; bit++) c = (c & 1) === 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc32(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) c = (crcTable[(c ^ byte) & 255] ?? 0) ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

const fromLatin1 = (text: string): Uint8Array => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

/** A chunk with its length and check sum. `name` is four letters. */
export function pngChunk(name: string, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = joined([new Uint8Array(4), fromLatin1(name), data, new Uint8Array(4)]);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  view.setUint32(8 + data.length, crc32(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

function textChunk(keyword: string, value: string): Uint8Array {
  const text = value.replaceAll("\0", " "); // NUL is forbidden in all text chunks
  const isLatin1 = [...text].every((letter) => (letter.codePointAt(0) ?? 0) < 256);
  return isLatin1
    ? pngChunk("tEXt", fromLatin1(`${keyword}\0${text}`))
    : pngChunk("iTXt", new TextEncoder().encode(`${keyword}\0\0\0\0\0${text}`));
}

/** The PNG with a text chunk an entry, right behind its header. Keywords: 1 to 79 Latin-1 letters. */
export function withText(png: Uint8Array, texts: Readonly<Record<string, string>>): Uint8Array<ArrayBuffer> {
  const chunks = Object.entries(texts).map(([keyword, text]) => textChunk(keyword, text));
  return joined([png.subarray(0, headerBytes), ...chunks, png.subarray(headerBytes)]);
}

/** A whole PNG of 8-bit RGB. `scanlines`, deflated: a filter byte and 3 · `width` bytes for each row from the top. */
export function pngOf(width: number, height: number, scanlines: Uint8Array): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 2], 8); // bits, RGB
  const chunks = [pngChunk("IHDR", header), pngChunk("IDAT", scanlines), pngChunk("IEND", new Uint8Array(0))];
  return joined([pngSignature, ...chunks]);
}

/** A text chunk as it lies in the file. */
export interface StoredText {
  readonly keyword: string;
  readonly bytes: Uint8Array;
  readonly encoding: "latin1" | "utf8";
  /** Whether `bytes` are a zlib stream. */
  readonly isDeflated: boolean;
  /** For the error where it cannot be read: `chunk zTXt at byte 33`. */
  readonly where: string;
}

/** The part of `data` before the first NUL from `start` on, and where the next part begins. */
function upToNul(data: Uint8Array, start: number): { part: string; next: number } | null {
  const end = data.indexOf(0, start);
  return end < 0 ? null : { part: latin1.decode(data.subarray(start, end)), next: end + 1 };
}

/** Null where the layout is broken. */
function parseText(name: string, data: Uint8Array, where: string): StoredText | null {
  const head = upToNul(data, 0);
  if (head === null) return null;
  const { part: keyword, next } = head;
  const plain = { keyword, where, encoding: "latin1" as const };
  if (name === "tEXt") return { ...plain, bytes: data.subarray(next), isDeflated: false };
  if (name === "zTXt") return { ...plain, bytes: data.subarray(next + 1), isDeflated: true };
  const language = upToNul(data, next + 2);
  const translated = language === null ? null : upToNul(data, language.next);
  if (translated === null) return null;
  const bytes = data.subarray(translated.next);
  return { keyword, bytes, encoding: "utf8", isDeflated: data[next] === 1, where };
}

/**
 * All text chunks of a PNG in their order. `where` names the picture in errors.
 * @throws KoalaError E_IMAGE when it is no PNG, is cut off or a text chunk is broken or too long
 */
export function storedTexts(png: Uint8Array, where: string): StoredText[] {
  const broken = (expected: string, got: string): KoalaError =>
    new KoalaError("E_IMAGE", { where, expected, got });
  if (!pngSignature.every((byte, i) => png[i] === byte))
    throw broken("a PNG picture", "a file that does not begin like one");
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const texts: StoredText[] = [];
  let room = maxTextBytes;
  let at = pngSignature.length;
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
      room -= length;
      const place = `chunk ${name} at byte ${at}`;
      if (view.getUint32(end) !== crc32(png.subarray(at + 4, end)))
        throw broken(`${place} as it was written`, "other bytes (CRC)");
      const text = parseText(name, png.subarray(at + 8, end), place);
      if (text === null) throw broken(`readable text in ${place}`, "something else");
      texts.push(text);
    }
    if (name === "IEND") return texts;
    at = end + 4;
  }
  throw broken("a chunk IEND at the end", "the end of the file");
}

/** Collects text by keyword; the first of equal keywords counts. */
export class TextReader {
  readonly #texts = new Map<string, string>();
  readonly #where: string;
  /** Bytes that the next text may take when it is inflated. */
  room: number = maxTextBytes;

  /** `where` names the picture in errors. */
  constructor(where: string) {
    this.#where = where;
  }

  /** `bytes` of a chunk, inflated; null where that failed. @throws KoalaError E_IMAGE when they are no text */
  add(stored: StoredText, bytes: Uint8Array | null): void {
    let text: string | null = null;
    try {
      if (bytes !== null) text = (stored.encoding === "utf8" ? utf8 : latin1).decode(bytes);
    } catch {
      text = null; // not UTF-8
    }
    if (text === null || bytes === null)
      throw new KoalaError("E_IMAGE", {
        where: this.#where,
        expected: `readable text in ${stored.where}`,
        got: "something else",
      });
    this.room -= Math.max(stored.bytes.length, bytes.length);
    if (!this.#texts.has(stored.keyword)) this.#texts.set(stored.keyword, text);
  }

  get texts(): Record<string, string> {
    return Object.fromEntries(this.#texts);
  }
}
