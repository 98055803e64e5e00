/** Picture files in a browser: PNGs that carry their request, as the command line writes and reads them. */

import { storedTextsOf } from "../image/exif.ts";
import type { Picture } from "../image/pixels.ts";
import { pngOf, type StoredText, TextReader, withText } from "../image/png.ts";
import type { Request } from "../pipeline/request.ts";
import { type Maker, pictureText, type Recorded, readPictureText } from "../pipeline/request-text.ts";

const SUB = 1; // each byte less the one of the pixel before it: PNG specification, section 9.2

async function deflated(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The picture as a PNG without a canvas, which some browsers blur on purpose against tracking. */
async function encode({ width, height, data }: Picture): Promise<Uint8Array<ArrayBuffer>> {
  const row = 3 * width;
  const lines = new Uint8Array((row + 1) * height);
  for (let y = 0; y < height; y++) {
    lines[y * (row + 1)] = SUB;
    for (let x = 0; x < row; x++)
      lines[y * (row + 1) + 1 + x] = (data[y * row + x] ?? 0) - (x < 3 ? 0 : (data[y * row + x - 3] ?? 0));
  }
  return pngOf(width, height, await deflated(lines));
}

/** A picture of `request` as a PNG that records it. */
export const encodePicture = async (
  picture: Picture,
  request: Request,
  maker: Maker,
): Promise<Uint8Array<ArrayBuffer>> => withText(await encode(picture), pictureText(request, maker));

/** Null where it is not zlib, or larger than the room. */
async function inflated({ bytes, isDeflated }: StoredText, room: number): Promise<Uint8Array | null> {
  if (!isDeflated) return bytes;
  const stream = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream();
  const reader = stream.pipeThrough(new DecompressionStream("deflate")).getReader();
  const pieces: BlobPart[] = [];
  let length = 0;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return new Uint8Array(await new Blob(pieces).arrayBuffer());
      length += value.length;
      if (length > room) return null;
      pieces.push(value);
    }
  } catch {
    return null;
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/**
 * The request that a PNG, JPEG or WebP records, and the model it was for. `where` names the picture in errors.
 * @throws KoalaError E_IMAGE when it is none of them or records nothing, E_REQUEST when what it records is no request
 */
export async function readPicture(file: Uint8Array, where: string): Promise<Recorded> {
  const reader = new TextReader(where);
  for (const stored of storedTextsOf(file, where)) reader.add(stored, await inflated(stored, reader.room));
  return readPictureText(reader.texts, where);
}
