/** Pictures to start from in a browser: files that it decodes, cut to a size as the command line cuts them. */

import { KoalaError } from "../core/errors.ts";
import type { Picture } from "../image/pixels.ts";
import type { Size } from "../pipeline/request.ts";

/** A picture file, and one of the same shape that is white where it is drawn anew. */
export interface StartFiles {
  readonly image: Blob;
  /** Null: all of it may change. */
  readonly mask: Blob | null;
}

/** As its orientation has it. @throws KoalaError E_IMAGE */
async function decode(file: Blob, where: string): Promise<ImageBitmap> {
  try {
    return await createImageBitmap(file);
  } catch {
    throw new KoalaError("E_IMAGE", {
      where,
      expected: "a picture that this browser can show",
      got: "something else",
    });
  }
}

/** Resized until it covers the size, cropped to it around its middle, transparency on white. */
async function fitTo(bitmap: ImageBitmap, { width, height }: Size): Promise<Picture> {
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [across, down] = [Math.round(width / scale), Math.round(height / scale)];
  const [left, top] = [Math.floor((bitmap.width - across) / 2), Math.floor((bitmap.height - down) / 2)];
  const resized = await createImageBitmap(bitmap, left, top, across, down, {
    ...{ resizeWidth: width, resizeHeight: height, resizeQuality: "high" },
  });
  const context = new OffscreenCanvas(width, height).getContext("2d") as OffscreenCanvasRenderingContext2D;
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(resized, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) data.set(pixels.subarray(4 * i, 4 * i + 3), 3 * i);
  return { width, height, data };
}

/**
 * What a pipeline starts from, of the size that `sizeOf` gives to a picture of this shape, which may be its own.
 * @throws KoalaError E_IMAGE
 */
export async function readStart(
  files: StartFiles,
  sizeOf: (picture: Size) => Size,
): Promise<{ readonly image: Picture; readonly mask?: Picture }> {
  const image = await decode(files.image, "image");
  const size = sizeOf(image);
  const mask = files.mask === null ? {} : { mask: await fitTo(await decode(files.mask, "mask"), size) };
  return { image: await fitTo(image, size), ...mask };
}
