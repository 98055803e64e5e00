/** A picture file's bytes → the pixels of a view, through sharp. */

import { KoalaError } from "../../core/errors.ts";
import type { Picture } from "../../image/pixels.ts";
import type { Size } from "../../train/data/buckets.ts";
import type { Skipped } from "../../train/data/sample.ts";
import { mirror, planView, unflippedLeft, type View, type ViewOptions } from "../../train/data/view.ts";

/** Pixels of the largest picture that is decoded, sharp's own limit (16383²): a small file can claim far more. */
const maxPixels = 0x3fff ** 2;

/**
 * Warnings are let pass, as PIL does: many pictures of the web have bytes too many in a marker. A picture that ends
 * too soon or whose data is damaged is refused.
 */
const failOn = "error";

const broken = (cause: unknown): KoalaError =>
  new KoalaError("E_IMAGE", {
    where: "picture",
    expected: "a PNG, JPEG or WebP file that is whole",
    got: (cause as Error).message.trim().split("\n")[0] ?? "",
    cause,
  });

/** The size in pixels, upright; only the file's head is read. @throws KoalaError E_IMAGE */
export async function pictureSize(bytes: Uint8Array): Promise<Size> {
  const { default: sharp } = await import("sharp");
  try {
    const { autoOrient } = await sharp(bytes, { limitInputPixels: maxPixels }).metadata();
    return { width: autoOrient.width, height: autoOrient.height };
  } catch (cause) {
    throw broken(cause);
  }
}

/** View number `index` of a picture whose bytes are of that hash, or why it has none. Only the file's head is read. */
export async function viewOf(
  bytes: Uint8Array,
  hash: string,
  index: number,
  o: ViewOptions,
): Promise<View | Omit<Skipped, "id">> {
  const size = await pictureSize(bytes).catch((error: KoalaError) => error);
  if (size instanceof KoalaError) return { kind: "broken", reason: size.message };
  try {
    return planView(size, hash, index, o);
  } catch (error) {
    return { kind: "too small", reason: (error as Error).message };
  }
}

/**
 * The picture upright, transparency on `background`, resized (Lanczos), cropped and mirrored as `view` says.
 * @throws KoalaError E_IMAGE
 */
export async function decodeView(bytes: Uint8Array, view: View, background: string): Promise<Picture> {
  const { default: sharp } = await import("sharp");
  const { resized, target, top } = view;
  try {
    const { data, info } = await sharp(bytes, { limitInputPixels: maxPixels, failOn })
      .autoOrient()
      .flatten({ background })
      .toColourspace("srgb")
      // shrinking while a JPEG is decoded is faster and leaves moiré
      .resize({ ...resized, fit: "fill", kernel: "lanczos3", fastShrinkOnLoad: false })
      .extract({ left: unflippedLeft(view), top, ...target })
      .raw()
      .toBuffer({ resolveWithObject: true });
    const picture = { width: info.width, height: info.height, data: toRgb(data, info.channels) };
    return view.isFlipped ? mirror(picture) : picture;
  } catch (cause) {
    throw broken(cause);
  }
}

/** Three bytes a pixel, of grey or colour. */
function toRgb(data: Uint8Array, channels: number): Uint8Array<ArrayBuffer> {
  if (channels === 3) return new Uint8Array(data);
  const out = new Uint8Array((data.length / channels) * 3);
  for (let i = 0; i < out.length; i++) out[i] = data[Math.floor(i / 3) * channels] ?? 0;
  return out;
}
