/** Picture files, written and read back. */

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, describe, expect, it } from "vitest";
import { psnr } from "../image/psnr.ts";
import { encodePicture, pictureFormat, readPicture, readPictureBytes } from "./image-file.ts";

const folder = mkdtempSync(join(tmpdir(), "koala-image-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A smooth picture, which lossy formats keep well. */
const picture = {
  width: 32,
  height: 16,
  data: Uint8Array.from({ length: 3 * 32 * 16 }, (_, i) => 4 * (Math.floor(i / 3) % 32) + 20 * (i % 3)),
};

describe("a picture file", () => {
  it("is lossless as PNG, and near as JPEG and WebP", async () => {
    for (const [name, least] of [
      ["a.png", Number.POSITIVE_INFINITY],
      ["a.JPG", 35],
      ["a.webp", 35],
    ] as const) {
      const path = join(folder, name);
      writeFileSync(path, await encodePicture(picture, pictureFormat(path)));
      expect(psnr(await readPicture(path), picture), name).toBeGreaterThanOrEqual(least);
    }
  });

  it("of another tool is read as 8-bit RGB, transparency as white", async () => {
    const path = join(folder, "alpha.png");
    const pixels = Uint8Array.of(255, 0, 0, 255, 0, 0, 0, 0);
    await sharp(pixels, { raw: { width: 2, height: 1, channels: 4 } })
      .png()
      .toFile(path);
    expect(await readPicture(path)).toEqual({
      width: 2,
      height: 1,
      data: Uint8Array.of(255, 0, 0, 255, 255, 255),
    });
  });

  it("of a camera is turned as its orientation says", async () => {
    const path = join(folder, "turned.jpg");
    await sharp(picture.data, { raw: { ...picture, channels: 3 } })
      .jpeg()
      .withMetadata({ orientation: 6 })
      .toFile(path);
    const { width, height } = await readPicture(path);
    expect([width, height]).toEqual([16, 32]);
  });

  it("that is none, too large, a folder or missing is an error that says so", async () => {
    const message = (p: Promise<unknown>): Promise<string> =>
      p.then(
        () => "no error",
        (e: Error) => e.message,
      );
    const bad = join(folder, "bad.png");
    writeFileSync(bad, "hello");
    expect(await message(readPicture(bad))).toBe(
      `${bad}: expected a picture of a format that sharp reads, whole and of at most 8192 x 8192 px, got Input buffer contains unsupported image format [E_IMAGE]`,
    );
    truncateSync(bad, 2 ** 28 + 1); // sparse
    expect(await message(readPictureBytes(bad))).toBe(
      `${bad}: expected a picture of at most 268435456 bytes, got 268435457 bytes [E_IMAGE]`,
    );
    expect(await message(readPictureBytes(folder))).toBe(
      `${folder}: expected a picture that can be read, got a folder [E_FILE]`,
    );
    expect(await message(readPictureBytes(join(folder, "no")))).toBe(
      `${join(folder, "no")}: expected a picture that can be read, got no such file [E_FILE]`,
    );
  });

  it("has a name that says its format", () => {
    expect(() => pictureFormat("apple")).toThrow(
      "apple: expected a picture's name: .png, .jpg, .jpeg or .webp, got no extension [E_OUTPUT]",
    );
  });
});
