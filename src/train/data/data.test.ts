/** Buckets, views, records, what is left out, and the census: everything of a data set that needs no file. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { bucketName, makeBuckets, nearestBucket } from "./buckets.ts";
import { Census, censusRows } from "./census.ts";
import { checkColumns, describe as describeRecord, parseMetadata } from "./record.ts";
import { checkUsable, SkipLog } from "./sample.ts";
import { mirror, planView, sizeNumbers, unflippedLeft, type ViewOptions } from "./view.ts";

const message = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  return "no error";
};

/** Appendix I of the SDXL paper: the sizes that are at least as wide as high, as `height width`. */
const sdxlList =
  "512 2048, 512 1984, 512 1920, 512 1856, 576 1792, 576 1728, 576 1664, 640 1600, 640 1536, 704 1472, 704 1408, 704 1344, 768 1344, 768 1280, 832 1216, 832 1152, 896 1152, 896 1088, 960 1088, 960 1024, 1024 1024";

describe("buckets", () => {
  it("are those of the SDXL paper at 1024 px in steps of 64", () => {
    const wide = makeBuckets({ resolution: 1024, step: 64, hasAspects: true })
      .filter(({ width, height }) => width >= height)
      .map(({ width, height }) => `${height} ${width}`);
    expect(wide.sort()).toEqual(sdxlList.split(", ").sort());
  });

  it("come in pairs, high and wide, and always have the square", () => {
    for (const [resolution, step] of [
      [128, 32],
      [128, 64],
      [256, 64],
      [512, 64],
    ] as const) {
      const names = makeBuckets({ resolution, step, hasAspects: true }).map(bucketName);
      expect(names).toContain(`${resolution}x${resolution}`);
      const mirrored = names.map((name) => name.split("x").reverse().join("x"));
      expect(mirrored.sort()).toEqual([...names].sort());
      expect(new Set(names).size).toBe(names.length);
    }
    expect(makeBuckets({ resolution: 128, step: 32, hasAspects: true }).map(bucketName)).toEqual([
      "64x256",
      "96x160",
      "128x128",
      "160x96",
      "256x64",
    ]);
  });

  it("without aspects are one square", () => {
    expect(makeBuckets({ resolution: 128, step: 32, hasAspects: false })).toEqual([
      { width: 128, height: 128 },
    ]);
  });

  it("are chosen by the ratio of aspects, so that high and wide pictures are treated alike", () => {
    const buckets = makeBuckets({ resolution: 1024, step: 64, hasAspects: true });
    const nearest = (width: number, height: number): string =>
      bucketName(nearestBucket({ width, height }, buckets));
    expect(nearest(300, 300)).toBe("1024x1024");
    expect(nearest(1600, 900)).toBe("1344x768");
    expect(nearest(900, 1600)).toBe("768x1344");
    expect(nearest(10000, 100)).toBe("2048x512");
  });

  it("refuse a resolution that the step does not divide, one that is no size, and none at all", () => {
    expect(message(() => makeBuckets({ resolution: 100, step: 64, hasAspects: true }))).toBe(
      "resolution: expected a multiple of 64 px, got 100 [E_CONFIG]",
    );
    expect(message(() => makeBuckets({ resolution: 0, step: 64, hasAspects: true }))).toBe(
      "resolution: expected whole numbers of pixels above 0, got 0 in steps of 64 [E_CONFIG]",
    );
    expect(message(() => nearestBucket({ width: 1, height: 1 }, []))).toBe(
      "buckets: expected at least one, got none [E_CONFIG]",
    );
  });
});

const square = (side: number, o: Partial<ViewOptions> = {}): ViewOptions => ({
  buckets: [{ width: side, height: side }],
  crop: "center",
  hasFlips: false,
  views: 1,
  seed: 0,
  minSide: 1,
  ...o,
});

describe("a view", () => {
  it("is resized and cropped where diffusers and torchvision do it, and tells SDXL so", () => {
    const lines = readFileSync("test/fixtures/data/views.txt", "utf8").trim().split("\n").slice(2);
    for (const line of lines) {
      const [width = 0, height = 0, resizedWidth, resizedHeight, left, top] = line.split(" ").map(Number);
      const view = planView({ width, height }, "hash", 0, square(16));
      expect(view.resized, line).toEqual({ width: resizedWidth, height: resizedHeight });
      expect(sizeNumbers(view), line).toEqual([height, width, top, left, 16, 16]);
    }
  });

  it("covers its bucket, whatever the aspects", () => {
    const o = square(0, { buckets: makeBuckets({ resolution: 128, step: 32, hasAspects: true }) });
    for (let width = 1; width < 600; width += 37) {
      for (let height = 1; height < 600; height += 41) {
        const { resized, target, left, top } = planView({ width, height }, "hash", 0, o);
        expect(resized.width === target.width || resized.height === target.height).toBe(true);
        expect(left >= 0 && left + target.width <= resized.width).toBe(true);
        expect(top >= 0 && top + target.height <= resized.height).toBe(true);
      }
    }
  });

  it("with random crops reaches every place, the same one for the same seed and picture", () => {
    const o = square(16, { crop: "random" });
    const lefts = (seed: number): number[] =>
      Array.from({ length: 200 }, (_, i) => {
        return planView({ width: 20, height: 16 }, `picture ${i}`, 0, { ...o, seed }).left;
      });
    expect([...new Set(lefts(1))].sort()).toEqual([0, 1, 2, 3, 4]);
    expect(lefts(1)).toEqual(lefts(1));
    expect(lefts(1)).not.toEqual(lefts(2));
    const views = [0, 1, 2, 3].map((i) => planView({ width: 500, height: 16 }, "picture", i, o).left);
    expect(new Set(views).size).toBe(4);
  });

  it("is mirrored for half of the pictures, and then its left edge counts in the mirrored picture", () => {
    const o = square(16, { hasFlips: true, crop: "random" });
    const views = Array.from({ length: 1000 }, (_, i) =>
      planView({ width: 24, height: 16 }, `picture ${i}`, 0, o),
    );
    const flipped = views.filter(({ isFlipped }) => isFlipped);
    expect(flipped.length).toBeGreaterThan(440);
    expect(flipped.length).toBeLessThan(560);
    for (const view of views)
      expect(unflippedLeft(view)).toBe(view.isFlipped ? 24 - 16 - view.left : view.left);
  });

  it("of a second number is mirrored where the first is not", () => {
    const o = square(16, { hasFlips: true });
    for (const hash of ["a", "b", "c", "d", "e", "f"]) {
      const [first, second] = [0, 1].map((i) => planView({ width: 24, height: 16 }, hash, i, o).isFlipped);
      expect(first).toBe(!second);
    }
  });

  it("of too small a picture is an error that says how large it must be", () => {
    expect(message(() => planView({ width: 40, height: 12 }, "hash", 0, square(16, { minSide: 16 })))).toBe(
      "picture: expected sides of at least 16 px, got 40x12 px [E_IMAGE]",
    );
  });

  it("is mirrored left to right, twice to itself", () => {
    const picture = { width: 2, height: 2, data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12) };
    expect(mirror(picture).data).toEqual(Uint8Array.of(4, 5, 6, 1, 2, 3, 10, 11, 12, 7, 8, 9));
    expect(mirror(mirror(picture))).toEqual(picture);
  });
});

describe("a record", () => {
  const all = { alt_txt: "poor", cogvlm_caption: "cog", llava_caption: " llava ", text: "", url: "x" };

  it("gives the first caption of the stated order that is not empty", () => {
    expect(describeRecord(all, "r", {})).toEqual({ captions: ["llava"], group: null, weight: 1 });
    expect(describeRecord({ ...all, caption: "own" }, "r", {}).captions).toEqual(["own"]);
    expect(describeRecord({ url: "x" }, "r", {}).captions).toEqual([]);
  });

  it("gives captions of other fields where asked, several where the field is a list", () => {
    expect(describeRecord(all, "r", { captions: ["alt_txt", "text"] }).captions).toEqual(["poor"]);
    expect(describeRecord({ text: ["a", " ", 3, "b "] }, "r", {}).captions).toEqual(["a", "b"]);
  });

  it("gives group and weight, the latter above 0", () => {
    const o = { group: "kind", weight: "w" };
    expect(describeRecord({ text: "a", kind: 7, w: 0.5 }, "r", o)).toEqual({
      captions: ["a"],
      group: "7",
      weight: 0.5,
    });
    expect(describeRecord({ text: "a", kind: null, w: 1 }, "r", o).group).toBeNull();
    expect(message(() => describeRecord({ text: "a", w: -1 }, "a.png", o))).toBe(
      "a.png (w): expected a weight above 0, got -1 [E_CONFIG]",
    );
  });

  it("of a table needs its columns", () => {
    expect(message(() => checkColumns(["image", "label"], "a.parquet", {}))).toBe(
      "a.parquet: expected a caption column: caption, text, llava_caption, cogvlm_caption, alt_txt, got the columns image, label [E_CONFIG]\nName the column that holds the caption.",
    );
    expect(message(() => checkColumns(["image", "text"], "a.parquet", { group: "kind" }))).toBe(
      "a.parquet: expected a column kind, got the columns image, text [E_CONFIG]",
    );
    expect(message(() => checkColumns(["image"], "a.parquet", { isCaptionOptional: true }))).toBe("no error");
  });

  it("of metadata.jsonl is an object with file_name, else the line is named", () => {
    const text = '{"file_name": "a.png", "text": "A"}\n\n{"file_name": "b/c.png"}\n';
    expect([...parseMetadata(text, "m").keys()]).toEqual(["a.png", "b/c.png"]);
    expect([...parseMetadata(`\uFEFF${text}`, "m").keys()]).toEqual(["a.png", "b/c.png"]); // as editors on Windows write it
    expect(message(() => parseMetadata('{"file_name": "a.png"}\n{"text": "no name"}', "m.jsonl"))).toBe(
      'm.jsonl, line 2: expected a JSON object with file_name, got {"text": "no name"} [E_FILE]',
    );
    expect(message(() => parseMetadata("x".repeat(100), "m.jsonl"))).toBe(
      `m.jsonl, line 1: expected a JSON object with file_name, got ${"x".repeat(60)}… [E_FILE]`,
    );
  });
});

describe("what is left out", () => {
  it("is counted by kind and named up to a limit", () => {
    const log = new SkipLog(2);
    for (const id of ["a", "b", "c"]) log.add({ kind: "broken", id, reason: `why ${id}` });
    log.add({ kind: "no caption", id: "d", reason: "none" });
    expect([log.total, log.of("broken"), log.of("no caption"), log.of("too small")]).toEqual([4, 3, 1, 0]);
    expect(log.lines()).toEqual([
      "left out a (broken): why a",
      "left out b (broken): why b",
      "and 2 more pictures",
    ]);
  });

  it("may not be everything", () => {
    expect(message(() => checkUsable("photos", 0, new SkipLog()))).toBe(
      "photos: expected pictures to learn from, got none [E_FILE]\nA data set is a folder of png, jpg or webp files, parquet files, or tar files of pictures with their captions.",
    );
    const log = new SkipLog();
    log.add({ kind: "no caption", id: "a.png", reason: "none" });
    expect(message(() => checkUsable("photos", 0, log))).toBe(
      "photos: expected captions with the pictures, got 1 pictures without one, such as a.png [E_FILE]\nPut a text beside each picture (a.png, a.txt), list them in metadata.jsonl (file_name, text), or name the caption's column.",
    );
    log.add({ kind: "broken", id: "b.png", reason: "cut short" });
    expect(message(() => checkUsable("photos", 0, log))).toBe(
      "photos: expected at least one picture that can be used, got 1 no caption, 1 broken [E_FILE]\nleft out a.png (no caption): none",
    );
    expect(message(() => checkUsable("photos", 1, log))).toBe("no error");
  });
});

describe("the census", () => {
  const size = (width: number, height: number) => ({ width, height });

  it("gives average resolution, average caption length, groups, buckets and what was left out", () => {
    const census = new Census((caption) => caption.length);
    census.add({ original: size(30, 40), target: size(16, 16), captions: ["a red apple"], group: "fruit" });
    census.add({
      original: size(60, 20),
      target: size(32, 8),
      captions: ["car", " two  words "],
      group: null,
    });
    census.add({ original: size(30, 30), target: size(16, 16), captions: ["pear"], group: "fruit" });
    const log = new SkipLog();
    log.add({ kind: "broken", id: "x.png", reason: "cut short" });
    const result = census.result(log);
    expect(result).toEqual({
      pictures: 3,
      meanWidth: 40,
      meanHeight: 30,
      averageResolution: Math.sqrt(1100),
      captions: 4,
      meanWords: 7 / 4,
      meanTokens: 30 / 4,
      groups: 1,
      skipped: { "missing file": 0, "no caption": 0, broken: 1, "too small": 0 },
      named: [{ kind: "broken", id: "x.png", reason: "cut short" }],
      buckets: [
        { bucket: "16x16", pictures: 2 },
        { bucket: "32x8", pictures: 1 },
      ],
    });
    expect(censusRows(result)).toEqual([
      ["pictures", "3"],
      ["average resolution (AR)", "33 px"],
      ["mean size", "40 x 30 px"],
      ["captions", "4"],
      ["average caption length (ACL)", "1.8 words, 7.5 tokens"],
      ["groups", "1"],
      ["left out", "1 broken"],
      ["bucket 16x16", "2"],
      ["bucket 32x8", "1"],
    ]);
  });

  it("of nothing is zero, without tokens where no tokenizer counts them", () => {
    const result = new Census().result(new SkipLog());
    expect([result.pictures, result.averageResolution, result.meanWords, result.meanTokens]).toEqual([
      0,
      0,
      0,
      null,
    ]);
    expect(censusRows(result)[4]).toEqual(["average caption length (ACL)", "0.0 words"]);
    expect(censusRows(result)[5]).toEqual(["left out", "none"]);
  });
});
