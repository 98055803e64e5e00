/** Picture files: PNG, JPEG and WebP through sharp, which loads when the first one is read or written. */

import { readFile, stat } from "node:fs/promises";
import { extname } from "node:path";
import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { jpegWithText, webpWithText } from "../image/exif.ts";
import type { Picture } from "../image/pixels.ts";
import type { Size } from "../pipeline/request.ts";
import type { Start } from "../pipeline/start.ts";
import { readText, withText } from "./png-text.ts";

export type PictureFormat = "png" | "jpeg" | "webp";

const formats: Readonly<Record<string, PictureFormat>> = {
  ".png": "png",
  ".jpg": "jpeg",
  ".jpeg": "jpeg",
  ".webp": "webp",
};

/** Lossy pictures are for sharing: no visible artefacts, about a fifth of the PNG. */
const quality = 92;

/** A raw 4096 x 4096 RGB picture, our largest, takes 50 MB; other tools' may have an alpha channel or 16 bits. */
const maxFileBytes = 256 * 2 ** 20;
const maxPixels = 8192 ** 2;

/** The format that a file's name asks for. @throws KoalaError E_OUTPUT for a name that asks for another one, or none */
export function pictureFormat(path: string): PictureFormat {
  const extension = extname(path).toLowerCase();
  const format = formats[extension];
  check(format !== undefined, "E_OUTPUT", () => ({
    where: path,
    expected: "a picture's name: .png, .jpg, .jpeg or .webp",
    got: extension === "" ? "no extension" : extension,
  }));
  return format;
}

/** The picture as a file's bytes. `texts` become text chunks of a PNG; the others carry `koala` and `parameters`, as Exif. */
export async function encodePicture(
  picture: Picture,
  format: PictureFormat,
  texts: Readonly<Record<string, string>> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { default: sharp } = await import("sharp");
  const { width, height, data } = picture;
  const image = sharp(data, { raw: { width, height, channels: 3 } });
  if (format === "png") return withText(await image.png().toBuffer(), texts);
  return format === "jpeg"
    ? jpegWithText(await image.jpeg({ quality }).toBuffer(), texts)
    : webpWithText(await image.webp({ quality }).toBuffer(), [width, height], texts);
}

/** A PNG of ours in another format, with its text. */
export async function convertPng(
  png: Uint8Array,
  format: Exclude<PictureFormat, "png">,
): Promise<Uint8Array<ArrayBuffer>> {
  const { default: sharp } = await import("sharp");
  const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const picture = { width: info.width, height: info.height, data: new Uint8Array(data) };
  return encodePicture(picture, format, readText(png, "picture"));
}

/** The bytes of a picture file. @throws KoalaError E_FILE when it cannot be read, E_IMAGE when it is too large */
export async function readPictureBytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const { size } = await stat(path);
    check(size <= maxFileBytes, "E_IMAGE", () => ({
      where: path,
      expected: `a picture of at most ${maxFileBytes} bytes`,
      got: `${size} bytes`,
    }));
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    if (cause instanceof KoalaError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    const got = code === "ENOENT" ? "no such file" : code === "EISDIR" ? "a folder" : String(code ?? cause);
    throw new KoalaError("E_FILE", { where: path, expected: "a picture that can be read", got, cause });
  }
}

/** The picture resized until it covers `size`, and cropped to it around its middle; or pulled to its shape. */
export async function fitPicture(
  picture: Picture,
  { width, height }: Size,
  how: "cover" | "fill" = "cover",
): Promise<Picture> {
  if (picture.width === width && picture.height === height) return picture;
  const { default: sharp } = await import("sharp");
  const raw = { width: picture.width, height: picture.height, channels: 3 } as const;
  const data = await sharp(picture.data, { raw }).resize(width, height, { fit: how }).raw().toBuffer();
  return { width, height, data: new Uint8Array(data) };
}

/** What is started from, each at `size`. */
export const fitStart = async (
  { image, mask }: Start,
  size: Size,
  how: "cover" | "fill" = "cover",
): Promise<Start> => ({
  image: image && (await fitPicture(image, size, how)),
  mask: mask && (await fitPicture(mask, size, how)),
});

/** A picture file's pixels as its orientation has them, transparency on white. @throws KoalaError E_FILE, E_IMAGE */
export async function readPicture(path: string): Promise<Picture> {
  return decodePicture(await readPictureBytes(path), path);
}

/** A mask that is white where a picture is transparent. @throws KoalaError E_IMAGE for one that is nowhere */
export async function transparencyOf(bytes: Uint8Array, where: string): Promise<Picture> {
  const { default: sharp } = await import("sharp");
  try {
    const image = sharp(bytes, { limitInputPixels: maxPixels });
    const { hasAlpha } = await image.metadata();
    check(hasAlpha === true, "E_IMAGE", () => ({
      where,
      expected: "a picture with transparent parts, which are drawn anew",
      got: "one without transparency",
    }));
    const { data: alpha, info } = await image
      .autoOrient()
      .extractChannel("alpha")
      .toColourspace("b-w")
      .negate()
      .raw()
      .toBuffer({ resolveWithObject: true });
    const data = new Uint8Array(3 * alpha.length);
    for (let i = 0; i < data.length; i++) data[i] = alpha[Math.floor(i / 3)] ?? 0;
    return { width: info.width, height: info.height, data };
  } catch (cause) {
    throw cause instanceof KoalaError ? cause : unreadable(where, cause);
  }
}

/** The pixels of a picture file's bytes, which come from `where`, in the same way. @throws KoalaError E_IMAGE */
export async function decodePicture(bytes: Uint8Array, where: string): Promise<Picture> {
  const { default: sharp } = await import("sharp");
  try {
    const { data, info } = await sharp(bytes, { limitInputPixels: maxPixels })
      .autoOrient()
      .flatten({ background: "white" })
      .toColourspace("srgb")
      .raw()
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, data: new Uint8Array(data) };
  } catch (cause) {
    throw unreadable(where, cause);
  }
}

const unreadable = (where: string, cause: unknown): KoalaError =>
  new KoalaError("E_IMAGE", {
    where,
    expected: "a picture of a format that sharp reads, whole and of at most 8192 x 8192 px",
    got: (cause as Error).message,
    cause,
  });
