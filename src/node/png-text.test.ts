/** Text chunks, against Pillow and against broken files. */

import { crc32, deflateSync } from "node:zlib";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { readText, withText } from "./png-text.ts";

/** Written by Pillow 13.0.0: PngInfo.add_text of Latin-1, of Japanese and zip=True, and add_itxt zip=True, on a 2 x 1 picture. */
const pillow = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAGXRFWHRwYXJhbWV0ZXJzAGNhZukKU3RlcHM6IDIwhmlXAAAAACFpVFh0a29hbGEAAAAAAHsi" +
    "cHJvbXB0IjogIuOCiuOCk+OBlCJ9uF3JKwAAABR6VFh0emlwcGVkAAB4nEtMJBUAAONcEvP6YzXWAAAAIGlUWHR6aXBwZWQtaXR4dAABAAAAeJw7vOcw2fDZ" +
    "9KUA5QsvBd5roAwAAAAPSURBVHicY/jPwMDA8B8ABwAB/34IsdAAAAAASUVORK5CYII=",
  "base64",
);
const blank = await sharp({ create: { width: 3, height: 2, channels: 3, background: "#12f" } })
  .png()
  .toBuffer();

/** `blank` with one more chunk behind its header. */
function withChunk(name: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(name, "latin1"), data]);
  const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  crc.writeUInt32BE(crc32(body));
  return Buffer.concat([blank.subarray(0, 33), length, body, crc, blank.subarray(33)]);
}

describe("text of a PNG", () => {
  it("is read as Pillow wrote it, in all four kinds of chunk", () => {
    expect(readText(pillow, "pillow.png")).toEqual({
      parameters: "café\nSteps: 20",
      koala: '{"prompt": "りんご"}',
      zipped: "a".repeat(50),
      "zipped-itxt": `${"ü".repeat(30)}日`,
    });
  });

  it("is written byte for byte as Pillow writes it", () => {
    const ours = withText(blank, { parameters: "café\nSteps: 20", koala: '{"prompt": "りんご"}' });
    expect(Buffer.from(ours.subarray(33, 33 + 37 + 45))).toEqual(pillow.subarray(33, 33 + 37 + 45));
  });

  it("survives, and leaves the pixels as they were", async () => {
    const texts = { parameters: "a\nb", koala: "🐨 und größer", nul: "a\0b" };
    const png = withText(blank, texts);
    expect(readText(png, "x.png")).toEqual({ ...texts, nul: "a b" });
    expect(await sharp(png).raw().toBuffer()).toEqual(await sharp(blank).raw().toBuffer());
  });

  it("keeps the first of two equal keywords", () => {
    expect(readText(withText(withText(blank, { a: "old" }), { a: "new" }), "x.png")).toEqual({ a: "new" });
  });
});

describe("a PNG that lies", () => {
  const sentence = (png: Uint8Array): string => {
    try {
      readText(png, "x.png");
    } catch (error) {
      return (error as Error).message;
    }
    return "no error";
  };
  const flipped = Uint8Array.from(withText(blank, { a: "text" }));
  flipped[43] = 0;
  const cases: [string, Uint8Array, string][] = [
    [
      "is empty",
      new Uint8Array(),
      "x.png: expected a PNG, JPEG or WebP picture, got a file that does not begin like one [E_IMAGE]",
    ],
    [
      "is a GIF",
      Buffer.from("GIF89a"),
      "x.png: expected a PNG, JPEG or WebP picture, got a file that does not begin like one [E_IMAGE]",
    ],
    [
      "is cut between chunks",
      blank.subarray(0, 33),
      "x.png: expected a chunk IEND at the end, got the end of the file [E_IMAGE]",
    ],
    [
      "is cut inside a chunk",
      withText(blank, { a: "text" }).subarray(0, 46),
      "x.png: expected 6 bytes of chunk tEXt at byte 33, got the end of the file [E_IMAGE]",
    ],
    [
      "was changed",
      flipped,
      "x.png: expected chunk tEXt at byte 33 as it was written, got other bytes (CRC) [E_IMAGE]",
    ],
    [
      "holds too much text",
      withText(blank, { a: "x".repeat(1 << 20) }),
      "x.png: expected at most 1048576 bytes of text, got a chunk tEXt of 1048578 bytes at byte 33 [E_IMAGE]",
    ],
    [
      "is a bomb",
      withChunk("zTXt", Buffer.concat([Buffer.from("a\0\0"), deflateSync(Buffer.alloc(1 << 24))])),
      "x.png: expected readable text in chunk zTXt at byte 33, got something else [E_IMAGE]",
    ],
    [
      "has no keyword",
      withChunk("iTXt", Buffer.from("no end")),
      "x.png: expected readable text in chunk iTXt at byte 33, got something else [E_IMAGE]",
    ],
    [
      "is not UTF-8",
      withChunk("iTXt", Buffer.from("a\0\0\0\0\0\xff", "latin1")),
      "x.png: expected readable text in chunk iTXt at byte 33, got something else [E_IMAGE]",
    ],
  ];
  it.each(cases)("%s", (_, png, expected) => {
    expect(sentence(png)).toBe(expected);
  });
});
