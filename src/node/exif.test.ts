/** Text of JPEG and WebP files, against Pillow and against broken files. */

import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { convertPng, encodePicture } from "./image-file.ts";
import { readText } from "./png-text.ts";

/** Written by Pillow 13.0.0: ImageDescription and UserComment (UNICODE, big-endian) of a 2 x 1 picture. */
const pillow = {
  jpeg: Buffer.from(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/4QB2RXhpZgAATU0AKgAAAAgAAgEOAAIAAAASAAAAJodpAAQAAAABAAAAOAAAAAB7InByb21wdCI6ICI/Pz8ifQAAAZ" +
      "KGAAEAAAAkAAAASgAAAABVTklDT0RFAABjAGEAZgDpAAoAUwB0AGUAcABzADoAIAAyADD/2wBDAFA3PEY8MlBGQUZaVVBfeMiCeG5uePWvuZHI////////" +
      "////////////////////////////////////////////2wBDAVVaWnhpeOuCguv///////////////////////////////////////////////////////" +
      "//////////////////wAARCAABAAIDASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQID" +
      "AAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhI" +
      "WGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAA" +
      "AAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKj" +
      "U2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX" +
      "2Nna4uPk5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwCpRRRTEf/Z",
    "base64",
  ),
  webp: Buffer.from(
    "UklGRrAAAABXRUJQVlA4WAoAAAAIAAAAAQAAAAAAVlA4IBwAAABwAQCdASoCAAEAB0CWJZQCdAFAAAD+7qHnDgAARVhJRm4AAABNTQAqAAAACAACAQ4AAg" +
      "AAABIAAAAmh2kABAAAAAEAAAA4AAAAAHsicHJvbXB0IjogIj8/PyJ9AAABkoYAAQAAACQAAABKAAAAAFVOSUNPREUAAGMAYQBmAOkACgBTAHQAZQBwAHMA" +
      "OgAgADIAMA==",
    "base64",
  ),
};
const texts = { koala: '{"prompt": "りんご"}', parameters: "café\nSteps: 20" };
const found = (file: Uint8Array): unknown => {
  const { koala = "", parameters } = readText(file, "x");
  return { koala: JSON.parse(koala), parameters };
};
const expected = { koala: { prompt: "りんご" }, parameters: texts.parameters };
const picture = { width: 33, height: 20, data: new Uint8Array(3 * 33 * 20).fill(90) };

describe.each(["jpeg", "webp"] as const)("the text of a %s", (format) => {
  it("is read as Pillow wrote it", () => {
    expect(readText(pillow[format], "x")).toEqual({ ...texts, koala: '{"prompt": "???"}' }); // ASCII only, to Pillow
  });

  it("survives, where sharp finds the picture whole", async () => {
    const file = await encodePicture(picture, format, texts);
    expect(found(file)).toEqual(expected);
    const facts = await sharp(file).metadata();
    expect([facts.format, facts.width, facts.height]).toEqual([format, 33, 20]);
    expect(Buffer.from(facts.exif ?? []).includes('{"prompt": "\\u308a')).toBe(true);
    await sharp(file).raw().toBuffer();
  });

  it("comes along from a PNG", async () => {
    const file = await convertPng(await encodePicture(picture, "png", texts), format);
    expect(found(file)).toEqual(expected);
  });

  it("is none where there is none, and where the file lies about it", async () => {
    expect(
      readText(
        await sharp(picture.data, { raw: { ...picture, channels: 3 } })
          [format]()
          .toBuffer(),
        "x",
      ),
    ).toEqual({});
    const whole = await encodePicture(picture, format, texts);
    for (let cut = 4; cut < whole.length; cut += 7) {
      if (format === "webp" && cut < 12) continue; // not yet a WebP
      expect(Object.keys(readText(whole.subarray(0, cut), "x")).length).toBeLessThanOrEqual(2);
    }
    for (let at = 20; at < Math.min(whole.length, 300); at++) {
      const bent = whole.slice();
      bent[at] = 255 - (bent[at] ?? 0);
      readText(bent, "x"); // whatever it says, it ends
    }
  });
});

it("a text too long for a JPEG's segment is left out, the comment first", async () => {
  const long = { koala: `{"prompt":"${"x".repeat(20_000)}"}`, parameters: "y".repeat(30_000) };
  expect(readText(await encodePicture(picture, "jpeg", long), "x")).toEqual({ koala: long.koala });
  expect(readText(await encodePicture(picture, "webp", long), "x")).toEqual(long);
});

/** A TIFF of directories, each with `entries` of the same tag that points at the next; the last one at itself. */
function nested(directories: number, entries: number): Buffer {
  const size = 2 + 12 * entries + 4;
  const tiff = Buffer.alloc(8 + directories * size);
  tiff.write("MM\0*");
  tiff.writeUInt32BE(8, 4);
  for (let d = 0; d < directories; d++) {
    const at = 8 + d * size;
    tiff.writeUInt16BE(entries, at);
    for (let e = 0; e < entries; e++) {
      tiff.writeUInt16BE(0x8769, at + 2 + 12 * e);
      tiff.writeUInt32BE(1, at + 6 + 12 * e);
      tiff.writeUInt32BE(Math.min(at + size, 8 + (directories - 1) * size), at + 10 + 12 * e);
    }
  }
  return tiff;
}

it("a file made to be read for ever, or into all memory, is read once", () => {
  const jpeg = (tiff: Buffer): Buffer => {
    const head = Buffer.from([0xff, 0xd8, 0xff, 0xe1, 0, 0, ...Buffer.from("Exif\0\0")]);
    head.writeUInt16BE(8 + tiff.length, 4);
    return Buffer.concat([head, tiff, Buffer.from([0xff, 0xd9])]);
  };
  expect(readText(jpeg(nested(40, 10)), "x")).toEqual({}); // 10^40 ways through it
  const long = Buffer.alloc(60_000, "a");
  const comments = 4_000;
  long.write("MM\0*\0\0\0\x08");
  long.writeUInt16BE(comments, 8);
  for (let i = 0; i < comments; i++) {
    long.writeUInt16BE(0x9286, 10 + 12 * i);
    long.writeUInt32BE(60_000 - 200, 14 + 12 * i);
    long.writeUInt32BE(100, 18 + 12 * i);
  }
  expect(Object.keys(readText(jpeg(long), "x"))).toEqual(["parameters"]);
});
