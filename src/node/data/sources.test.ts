/** Each kind of data set: folders made here, tar files by tar-stream, parquet files by pyarrow (scripts/oracle/data_fixtures.py). */

import {
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import sharp from "sharp";
import { pack } from "tar-stream";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { DataSource, RawSample, Skipped } from "../../train/data/sample.ts";
import { openPictureFolder } from "./folder.ts";
import { contentHash } from "./hash.ts";
import { openSource } from "./open-source.ts";
import { openParquet } from "./parquet.ts";
import { openTar } from "./tar.ts";

const root = mkdtempSync(join(tmpdir(), "koala-data-"));
afterAll(() => rmSync(root, { recursive: true }));
const fixtures = "test/fixtures/data";

/** Bytes of a small picture of one colour. */
const png = (red: number): Promise<Buffer> =>
  sharp({ create: { width: 8, height: 6, channels: 3, background: { r: red, g: 0, b: 0 } } })
    .png()
    .toBuffer();

async function all(source: DataSource): Promise<{ samples: RawSample[]; skipped: Skipped[] }> {
  const samples: RawSample[] = [];
  const skipped: Skipped[] = [];
  for await (const sample of source.samples((s) => skipped.push(s))) samples.push(sample);
  return { samples, skipped };
}

const message = (p: Promise<unknown>): Promise<string> =>
  p.then(
    () => "no error",
    (error: Error) => error.message,
  );

/** A folder of its own with these files. */
function folder(name: string, files: Readonly<Record<string, string | Uint8Array>>): string {
  const path = join(root, name);
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(join(path, file, ".."), { recursive: true });
    writeFileSync(join(path, file), content);
  }
  return path;
}

async function tar(
  path: string,
  files: readonly (readonly [string, string | Uint8Array])[],
): Promise<string> {
  const archive = pack();
  for (const [name, content] of files) archive.entry({ name }, Buffer.from(content));
  archive.finalize();
  await pipeline(archive, createWriteStream(path));
  return path;
}

let red: Buffer;
let dark: Buffer;
beforeAll(async () => {
  red = await png(255);
  dark = await png(10);
});

describe("a folder of pictures", () => {
  it("gives pictures of all levels in the order of their names, captions from texts and metadata.jsonl", async () => {
    const path = folder("levels", {
      "b.png": red,
      "b.txt": " a red one \n",
      "a/x.PNG": dark,
      "a/x.txt": "overruled",
      "a/metadata.jsonl": '{"file_name": "x.PNG", "text": "a dark one", "kind": "dark"}\n',
      "a/none.webp": red,
      ".hidden/c.png": red,
      "notes.md": "not a picture",
      "metadata.jsonl": '{"file_name": "lost.png", "text": "x"}\n',
    });
    const source = await openPictureFolder(path, { group: "kind" });
    expect(source.count).toBe(3);
    const { samples, skipped } = await all(source);
    expect(samples).toEqual([
      {
        id: "a/x.PNG",
        hash: contentHash(dark),
        bytes: new Uint8Array(dark),
        captions: ["a dark one"],
        group: "dark",
        weight: 1,
      },
      {
        id: "b.png",
        hash: contentHash(red),
        bytes: new Uint8Array(red),
        captions: ["a red one"],
        group: null,
        weight: 1,
      },
    ]);
    expect(skipped).toEqual([
      { kind: "missing file", id: "lost.png", reason: "metadata.jsonl lists it, and it is not there" },
      { kind: "no caption", id: "a/none.webp", reason: "neither none.txt nor metadata.jsonl has one" },
    ]);
    expect(await all(source)).toEqual({ samples, skipped });
  });

  it("takes the text beside the picture where the record's own is blank", async () => {
    const records = ['{"file_name": "a.png", "text": ""}', '{"file_name": "b.png", "text": null}'];
    const path = folder("blank", {
      ...{ "a.png": red, "a.txt": "a red one", "b.png": dark, "b.txt": "a dark one" },
      "metadata.jsonl": records.join("\n"),
    });
    const captionsOf = async (source: DataSource) =>
      (await all(source)).samples.map(({ captions }) => captions);
    expect(await captionsOf(await openPictureFolder(path))).toEqual([["a red one"], ["a dark one"]]);
    const shard = await tar(join(root, "blank.tar"), [
      ["a.png", red],
      ["a.txt", "a red one"],
      ["a.json", '{"text": "  "}'],
    ]);
    expect(await captionsOf(await openTar(shard))).toEqual([["a red one"]]);
  });

  it("gives pictures without captions where these are optional", async () => {
    const path = folder("silent", { "a.png": red });
    const { samples } = await all(await openPictureFolder(path, { isCaptionOptional: true }));
    expect(samples.map(({ captions }) => captions)).toEqual([[]]);
  });

  it("names the fields that were asked for, where a picture has none of them", async () => {
    const path = folder("asked", { "a.png": red, "a.txt": "a red one" });
    const reasonOf = async (source: DataSource) => (await all(source)).skipped.map(({ reason }) => reason);
    expect(await reasonOf(await openPictureFolder(path, { captions: ["captoin", "title"] }))).toEqual([
      "neither a.txt, which is the field text, nor metadata.jsonl has captoin or title",
    ]);
    const shard = await tar(join(root, "asked.tar"), [
      ["a.png", red],
      ["a.txt", "a red one"],
    ]);
    expect(await reasonOf(await openTar(shard, { captions: ["captoin"] }))).toEqual([
      "neither its .txt, which is the field text, nor its .json has captoin",
    ]);
  });

  it("that is missing, or whose metadata is none, is an error", async () => {
    expect(await message(openPictureFolder(join(root, "nowhere")))).toBe(
      `${join(root, "nowhere")}: expected a folder, got no such file or folder [E_FILE]`,
    );
    const path = folder("bad", { "metadata.jsonl": "[1]\n" });
    expect(await message(openPictureFolder(path))).toBe(
      `${join(path, "metadata.jsonl")}, line 1: expected a JSON object with file_name, got [1] [E_FILE]`,
    );
  });
});

describe("parquet", () => {
  it("of Hugging Face's image feature gives bytes row by row over row groups", async () => {
    const source = await openParquet(join(fixtures, "images.parquet"), { group: "kind" });
    expect(source.count).toBe(5);
    const { samples, skipped } = await all(source);
    expect(samples.map(({ id, captions, group }) => [id, ...captions, group])).toEqual([
      ["images.parquet#0", "zero", "a"],
      ["images.parquet#1", "one", "b"],
      ["images.parquet#3", "three", "b"],
      ["images.parquet#4", "four", "a"],
    ]);
    expect(skipped).toEqual([
      { kind: "no caption", id: "images.parquet#2", reason: "its caption columns are empty" },
    ]);
    const { width, height } = await sharp(samples[0]?.bytes).metadata();
    expect([width, height]).toEqual([24, 16]);
  });

  it("of columns longer than one read call takes is read in several, as those of 2 GiB are", async () => {
    const path = join(fixtures, "images.parquet");
    const whole = await all(await openParquet(path));
    const handle = await open(path, "r");
    const prototype = Object.getPrototypeOf(handle) as FileHandle;
    await handle.close();
    const read = prototype.read as (...args: unknown[]) => Promise<{ bytesRead: number }>;
    const short = vi.spyOn(prototype, "read").mockImplementation(function (this: FileHandle, ...args) {
      const [bytes, at, length, start] = args as unknown as [Uint8Array, number, number, number];
      return read.call(this, bytes, at, Math.min(length, 1000), start) as never;
    });
    try {
      expect(await all(await openParquet(path))).toEqual(whole);
    } finally {
      short.mockRestore();
    }
  });

  it("of unmarked bytes and lists gives pictures, several captions and weights", async () => {
    const { samples } = await all(await openParquet(join(fixtures, "raw.parquet"), { weight: "weight" }));
    expect(samples.map(({ captions, weight }) => [captions, weight])).toEqual([
      [["first", "second"], 2],
      [["third"], 1],
    ]);
    expect(samples[0]?.bytes.subarray(1, 4)).toEqual(new Uint8Array(Buffer.from("PNG")));
  });

  it("of ye-pop finds the files that it names, by name or the end of the URL, and its captions in the stated order", async () => {
    const pictures = folder("ye-pop", { "a.png": red, "b.png": dark });
    for (const picture of ["filename", "url"]) {
      const path = join(fixtures, "ye-pop.parquet");
      const { samples, skipped } = await all(await openParquet(path, { picture, pictures }));
      expect(samples.map(({ hash, captions }) => [hash, ...captions])).toEqual([
        [contentHash(red), "llava a"],
        [contentHash(dark), "cog b"],
      ]);
      expect(skipped).toEqual([
        {
          kind: "missing file",
          id: "ye-pop.parquet#2",
          reason: `${join(pictures, "c.png")}: expected a picture that can be read, got no such file [E_FILE]`,
        },
      ]);
    }
    const alt = { pictures, captions: ["alt_txt"] };
    const { samples } = await all(await openParquet(join(fixtures, "ye-pop.parquet"), alt));
    expect(samples.map(({ captions }) => captions[0])).toEqual(["alt a", "alt b"]);
  });

  it("that is none, cut short, damaged inside, or without the columns asked for is an error", async () => {
    const bad = join(root, "bad.parquet");
    const hint = "The file is damaged or was not fetched to its end: fetch it again.";
    writeFileSync(bad, "not parquet at all");
    expect(await message(openParquet(bad))).toBe(
      `${bad}: expected a whole parquet file, got parquet file invalid (footer != PAR1) [E_FILE]\n${hint}`,
    );
    const whole = readFileSync(join(fixtures, "images.parquet"));
    writeFileSync(bad, whole.subarray(0, 5000));
    expect(await message(openParquet(bad))).toBe(
      `${bad}: expected a whole parquet file, got parquet file invalid (footer != PAR1) [E_FILE]\n${hint}`,
    );
    const damaged = Buffer.from(whole);
    damaged.fill(0xff, 4, 4000);
    writeFileSync(bad, damaged);
    expect(await message(all(await openParquet(bad)))).toMatch(
      new RegExp(`^${bad}: expected a whole parquet file, got .* \\[E_FILE\\]\\n${hint}$`, "s"),
    );
    const path = join(fixtures, "images.parquet");
    expect(await message(openParquet(path, { picture: "photo" }))).toBe(
      `${path}: expected a column of pictures or of their file names: photo, got the columns image, text, kind [E_CONFIG]\nName the column that holds the pictures.`,
    );
    expect(await message(openParquet(path, { captions: ["title"] }))).toBe(
      `${path}: expected a caption column: title, got the columns image, text, kind [E_CONFIG]\nName the column that holds the caption.`,
    );
  });
});

describe("a tar shard", () => {
  it("gives samples by the name up to the first dot, texts and JSON with them", async () => {
    const path = await tar(join(root, "shard.tar"), [
      ["a.png", red],
      ["a.txt", "a red one"],
      ["deep/b.json", '{"llava_caption": "a dark one", "kind": "dark"}'],
      ["deep/b.jpg", dark],
      ["deep/b.cls", "3"],
      ["c.txt", "a text alone"],
      ["d.webp", red],
      ["e.png", red],
      ["e.json", "[1]"],
    ]);
    const source = await openTar(path, { group: "kind" });
    const { samples, skipped } = await all(source);
    expect(samples.map(({ id, hash, captions, group }) => [id, hash, captions, group])).toEqual([
      ["shard.tar/a", contentHash(red), ["a red one"], null],
      ["shard.tar/deep/b", contentHash(dark), ["a dark one"], "dark"],
    ]);
    expect(skipped).toEqual([
      { kind: "missing file", id: "shard.tar/c", reason: "texts without a picture" },
      { kind: "no caption", id: "shard.tar/d", reason: "neither its .txt nor its .json has one" },
      { kind: "broken", id: "shard.tar/e", reason: "its .json is not a JSON object" },
    ]);
    expect(await all(source)).toEqual({ samples, skipped });
  });

  it("reads a picture of many blocks whole", async () => {
    const noise = Buffer.from(Uint8Array.from({ length: 3 * 512 * 512 }, (_, i) => (i * 2654435761) >>> 13));
    const large = await sharp(noise, { raw: { width: 512, height: 512, channels: 3 } })
      .png()
      .toBuffer();
    const path = await tar(join(root, "large.tar"), [
      ["a.png", large],
      ["a.txt", "noise"],
    ]);
    const { samples } = await all(await openTar(path));
    expect(samples[0]?.hash).toBe(contentHash(large));
  });

  it("that is none, cut short or damaged is an error", async () => {
    const hint =
      "The file is damaged, compressed or was not fetched to its end: fetch it again, or unpack it first.";
    const path = await tar(join(root, "cut.tar"), [
      ["a.png", red],
      ["a.txt", "a red one"],
    ]);
    truncateSync(path, 1024);
    expect(await message(openTar(path))).toBe(
      `${path}: expected a whole tar file, got 1024 bytes that do not end as one [E_FILE]\n${hint}`,
    );
    const whole = await tar(join(root, "damaged.tar"), [["a.png", red]]);
    const bytes = readFileSync(whole);
    bytes.fill(7, 100, 200);
    writeFileSync(whole, bytes);
    expect(await message(all(await openTar(whole)))).toBe(
      `${whole}: expected a whole tar file, got Invalid tar header. Maybe the tar is corrupted or it needs to be gunzipped? [E_FILE]\n${hint}`,
    );
  });

  it("with a file of more than 256 MiB among its samples is an error", async () => {
    const path = join(root, "huge.tar");
    const header = Buffer.alloc(512);
    header.write("a.png", 0);
    header.write("0000644\0", 100);
    header.write("0000000\0", 108);
    header.write("0000000\0", 116);
    header.write((2 ** 28 + 1).toString(8).padStart(11, "0"), 124);
    header.write("00000000000\0", 136);
    header.write("        ", 148);
    header.write("0", 156);
    header.write("ustar\x0000", 257);
    const sum = header.reduce((a, b) => a + b, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    writeFileSync(path, Buffer.concat([header, Buffer.alloc(1024)]));
    expect(await message(all(await openTar(path)))).toBe(
      `${path}: a.png: expected a file of at most 268435456 bytes, got 268435457 bytes [E_FILE]`,
    );
  });
});

describe("a data set", () => {
  it("of a path is what lies there: parquet before tar before pictures", async () => {
    const pictures = folder("kinds", { "a.png": red, "a.txt": "a" });
    expect((await all(await openSource([pictures]))).samples.map(({ id }) => id)).toEqual(["a.png"]);
    await tar(join(pictures, "b.tar"), [
      ["b.png", red],
      ["b.txt", "b"],
    ]);
    expect((await all(await openSource([pictures]))).samples.map(({ id }) => id)).toEqual(["b.tar/b"]);
    writeFileSync(join(pictures, "c.parquet"), readFileSync(join(fixtures, "raw.parquet")));
    const { samples } = await all(await openSource([pictures]));
    expect(samples.map(({ id }) => id)).toEqual(["c.parquet#0", "c.parquet#1"]);
  });

  it("of several paths is one after another, under names of their own", async () => {
    const one = folder("one", { "a.png": red, "a.txt": "one", "b.png": dark });
    const two = folder("two", { "a.png": dark, "a.txt": "two" });
    const file = join(fixtures, "raw.parquet");
    const source = await openSource([one, two, file]);
    expect([source.name, source.count]).toEqual([`${one}, ${two}, ${file}`, 5]);
    const { samples, skipped } = await all(source);
    expect(samples.map(({ id }) => id)).toEqual([
      join(one, "a.png"),
      join(two, "a.png"),
      join(fixtures, "raw.parquet#0"),
      join(fixtures, "raw.parquet#1"),
    ]);
    expect(skipped.map(({ id }) => id)).toEqual([join(one, "b.png")]);
  });

  it("of no path, a path that is not there, or a file of another kind is an error", async () => {
    expect(await message(openSource([]))).toBe(
      "data: expected a folder, parquet or tar file of pictures, got none [E_FILE]",
    );
    const near = folder("sunflowers", { "a.csv": "x" });
    const far = join(root, "sunflower");
    expect(await message(openSource([far]))).toBe(
      `${far}: expected a folder, parquet or tar file of pictures, got no such file or folder [E_FILE]\nDid you mean ${near}?`,
    );
    const other = join(near, "a.csv");
    expect(await message(openSource([other]))).toBe(
      `${other}: expected a folder, or a file that ends in .parquet or .tar, got another file [E_FILE]`,
    );
  });
});
