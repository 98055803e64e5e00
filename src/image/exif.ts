/**
 * A picture's text in JPEG and WebP files, which have no text chunks: as Exif. `koala`, which is JSON, is the image's description, `parameters`
 * the user's comment, where A1111's web UI writes and reads it. Sources: Exif 2.32, sections 4.5 and 4.6; TIFF 6.0, section 2;
 * the WebP container's specification. Files may come from anyone: what points outside of them is passed over.
 */

import { KoalaError } from "../core/errors.ts";
import { maxTextBytes, pngSignature, type StoredText, storedTexts } from "./png.ts";

/** ImageDescription, the place of the Exif directory, and UserComment in it. */
const DESCRIPTION = 0x010e;
const EXIF_DIRECTORY = 0x8769;
const COMMENT = 0x9286;
/** Types of values. */
const ASCII = 2;
const LONG = 4;
const UNDEFINED = 7;
/** Of a directory. */
const ENTRY_BYTES = 12;
/** What comes before a comment in UTF-16. */
const UNICODE = "UNICODE\0";

/** An APP1 segment says its length in 16 bits; two of its bytes are that length, and six say `Exif`. */
const maxJpegBytes = 0xffff - 8;

const latin1 = (bytes: Uint8Array): string => new TextDecoder("latin1").decode(bytes);
const ascii = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(text, (letter) => letter.charCodeAt(0));

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Big-endian. */
function utf16(text: string): Uint8Array {
  const bytes = new Uint8Array(2 * text.length);
  for (let i = 0; i < text.length; i++) bytes.set([text.charCodeAt(i) >> 8, text.charCodeAt(i) & 255], 2 * i);
  return bytes;
}

/** JSON in ASCII, all that a description may have. */
const escaped = (json: string): string =>
  json.replace(/[^ -~]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);

type Texts = Readonly<Record<string, string>>;

/** The two texts as a TIFF file: a directory with the description and the place of another one, which has the comment. */
function tiffOf({ koala = "", parameters = "" }: Texts): Uint8Array<ArrayBuffer> {
  const description = joined([ascii(escaped(koala)), new Uint8Array(1)]);
  const comment = joined([ascii(UNICODE), utf16(parameters)]);
  const first = 8;
  const second = first + 2 + 2 * ENTRY_BYTES + 4;
  const values = second + 2 + ENTRY_BYTES + 4;
  const bytes = new Uint8Array(values + description.length + comment.length);
  const view = new DataView(bytes.buffer);
  const entry = (at: number, tag: number, type: number, [count, value]: readonly [number, number]): void => {
    view.setUint16(at, tag);
    view.setUint16(at + 2, type);
    view.setUint32(at + 4, count);
    view.setUint32(at + 8, value);
  };
  bytes.set(ascii("MM\0*"));
  view.setUint32(4, first);
  view.setUint16(first, 2);
  entry(first + 2, DESCRIPTION, ASCII, [description.length, values]);
  entry(first + 2 + ENTRY_BYTES, EXIF_DIRECTORY, LONG, [1, second]);
  view.setUint16(second, 1);
  entry(second + 2, COMMENT, UNDEFINED, [comment.length, values + description.length]);
  bytes.set(description, values);
  bytes.set(comment, values + description.length);
  return bytes;
}

function commentOf(value: Uint8Array): string {
  const text = value.subarray(UNICODE.length);
  if (latin1(value.subarray(0, UNICODE.length)) !== UNICODE)
    return new TextDecoder().decode(text).replace(/\0+$/, "");
  // writers do not agree on the order of the two bytes: those of Latin letters are zero on one side
  const zeros = [0, 0];
  for (const [i, byte] of text.entries()) if (byte === 0) zeros[i % 2] = (zeros[i % 2] ?? 0) + 1;
  const isLittle = (zeros[1] ?? 0) > (zeros[0] ?? 0);
  return new TextDecoder(isLittle ? "utf-16le" : "utf-16be").decode(text);
}

/** By tag, of its first entry: how many values, and the value or where it lies. */
type Directory = ReadonlyMap<number, readonly [count: number, value: number]>;

/**
 * Both texts, where they are there. What is broken is no text: other tools' Exif is theirs. Each directory is read once and each
 * text is the first of its kind, so that a file made to be endless is not.
 */
function textsOfTiff(tiff: Uint8Array): StoredText[] {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  const isLittle = tiff[0] === 0x49; // "II"; else "MM"
  const directory = (at: number): Directory => {
    const entries = new Map<number, readonly [number, number]>();
    const count = at + 2 > tiff.length ? 0 : view.getUint16(at, isLittle);
    const end = Math.min(at + 2 + count * ENTRY_BYTES, tiff.length);
    for (let place = at + 2; place + ENTRY_BYTES <= end; place += ENTRY_BYTES) {
      const tag = view.getUint16(place, isLittle);
      if (!entries.has(tag))
        entries.set(tag, [view.getUint32(place + 4, isLittle), view.getUint32(place + 8, isLittle)]);
    }
    return entries;
  };
  const first = tiff.length < 8 ? undefined : directory(view.getUint32(4, isLittle));
  const place = first?.get(EXIF_DIRECTORY)?.[1];
  const second = place === undefined ? undefined : directory(place);
  const value = (tag: number): Uint8Array | null => {
    const [length = 0, start = 0] = first?.get(tag) ?? second?.get(tag) ?? [];
    const isText = length > UNICODE.length && length <= maxTextBytes && start + length <= tiff.length;
    return isText ? tiff.subarray(start, start + length) : null;
  };
  const text = (keyword: string, words: string): StoredText => ({
    ...{ keyword, bytes: new TextEncoder().encode(words), encoding: "utf8", isDeflated: false },
    where: `Exif ${keyword}`,
  });
  const comment = value(COMMENT);
  const description = new TextDecoder().decode(value(DESCRIPTION) ?? new Uint8Array()).replace(/\0+$/, "");
  return [
    ...(description.startsWith("{") ? [text("koala", description)] : []), // one in words is someone else's
    ...(comment === null ? [] : [text("parameters", commentOf(comment))]),
  ];
}

const nameAt = (bytes: Uint8Array, at: number): string => latin1(bytes.subarray(at, at + 4));
const isJpeg = (bytes: Uint8Array): boolean => bytes[0] === 0xff && bytes[1] === 0xd8;
const isWebp = (bytes: Uint8Array): boolean => nameAt(bytes, 0) === "RIFF" && nameAt(bytes, 8) === "WEBP";

/** The Exif of a JPEG; empty where it has none. */
function exifOfJpeg(bytes: Uint8Array): Uint8Array {
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff) {
    const [marker = 0, high = 0, low = 0] = bytes.subarray(at + 1, at + 4);
    const end = at + 2 + 256 * high + low;
    const isPicture = marker === 0xda; // from here on
    if (isPicture || end > bytes.length) break;
    if (marker === 0xe1 && nameAt(bytes, at + 4) === "Exif") return bytes.subarray(at + 10, end);
    at = end;
  }
  return new Uint8Array(0);
}

interface Chunk {
  readonly name: string;
  readonly data: Uint8Array;
}

/** Of a WebP. */
function chunksOf(bytes: Uint8Array): Chunk[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks: Chunk[] = [];
  let at = 12;
  while (at + 8 <= bytes.length) {
    const length = view.getUint32(at + 4, true);
    if (at + 8 + length > bytes.length) break;
    chunks.push({ name: nameAt(bytes, at), data: bytes.subarray(at + 8, at + 8 + length) });
    at += 8 + length + (length % 2);
  }
  return chunks;
}

/**
 * All text of a PNG, JPEG or WebP. `where` names the picture in errors.
 * @throws KoalaError E_IMAGE when it is none of them, and for a PNG as `storedTexts`
 */
export function storedTextsOf(bytes: Uint8Array, where: string): StoredText[] {
  if (isJpeg(bytes)) return textsOfTiff(exifOfJpeg(bytes));
  if (isWebp(bytes))
    return textsOfTiff(chunksOf(bytes).find(({ name }) => name === "EXIF")?.data ?? new Uint8Array(0));
  if (pngSignature.every((byte, i) => bytes[i] === byte)) return storedTexts(bytes, where);
  throw new KoalaError("E_IMAGE", {
    where,
    expected: "a PNG, JPEG or WebP picture",
    got: "a file that does not begin like one",
  });
}

/** A JPEG with these texts. What is too long for its one segment is left out, `parameters` first. */
export function jpegWithText(jpeg: Uint8Array, texts: Texts): Uint8Array<ArrayBuffer> {
  const { koala = "" } = texts;
  const tiff = [tiffOf(texts), tiffOf({ koala })].find(({ length }) => length <= maxJpegBytes);
  if (tiff === undefined) return new Uint8Array(jpeg);
  const length = 8 + tiff.length;
  const head = Uint8Array.of(0xff, 0xe1, length >> 8, length & 255);
  return joined([jpeg.subarray(0, 2), head, ascii("Exif\0\0"), tiff, jpeg.subarray(2)]);
}

function chunk({ name, data }: Chunk): Uint8Array<ArrayBuffer> {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, data.length, true);
  return joined([ascii(name), length, data, new Uint8Array(data.length % 2)]);
}

/** A WebP of one picture without alpha, `width` x `height` pixels, with these texts. */
export function webpWithText(
  webp: Uint8Array,
  [width, height]: readonly [number, number],
  texts: Texts,
): Uint8Array<ArrayBuffer> {
  const [w, h] = [width - 1, height - 1];
  const hasExif = 8;
  const head = Uint8Array.of(hasExif, 0, 0, 0, w, w >> 8, w >> 16, h, h >> 8, h >> 16);
  const picture = chunksOf(webp).filter(({ name }) => name === "VP8 " || name === "VP8L");
  const chunks = [{ name: "VP8X", data: head }, ...picture, { name: "EXIF", data: tiffOf(texts) }];
  return chunk({ name: "RIFF", data: joined([ascii("WEBP"), ...chunks.map(chunk)]) });
}
