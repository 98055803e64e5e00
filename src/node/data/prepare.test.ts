/** Preparing, resuming and opening a small folder of pictures, with encoders that count what they are asked. */

import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { makeBuckets } from "../../train/data/buckets.ts";
import { type CaptionEncoder, type PictureEncoder, pixelEncoder } from "../../train/data/encode.ts";
import { batchLoader } from "../../train/data/loader.ts";
import { planView, sizeNumbers } from "../../train/data/view.ts";
import { decodeView } from "./decode.ts";
import { openSource } from "./open-source.ts";
import { openPrepared, type PrepareOptions, prepareData } from "./prepare.ts";
import { surveyData } from "./survey.ts";

const root = mkdtempSync(join(tmpdir(), "koala-prepare-"));
afterAll(() => rmSync(root, { recursive: true }));
const photos = join(root, "photos");

/** Wide, high and square pictures of noise; one broken, one too small, one without a caption, two of the same content. */
beforeAll(async () => {
  const sizes = [
    [40, 40],
    [64, 30],
    [30, 64],
    [33, 33],
    [70, 32],
    [48, 48],
    [10, 10],
    [40, 40],
  ] as const;
  mkdirSync(photos);
  for (const [i, [width, height]] of sizes.entries()) {
    const noise = Uint8Array.from(
      { length: 3 * width * height },
      (_, k) => ((k + 7 * i) * 2654435761) >>> 13,
    );
    const path = join(photos, `${i}.png`);
    await sharp(noise, { raw: { width, height, channels: 3 } })
      .png()
      .toFile(path);
    writeFileSync(join(photos, `${i}.txt`), `picture ${i % 3}`);
  }
  cpSync(join(photos, "0.png"), join(photos, "again.png"));
  writeFileSync(join(photos, "again.txt"), "picture again");
  writeFileSync(join(photos, "broken.png"), "no picture");
  writeFileSync(join(photos, "broken.txt"), "none");
  rmSync(join(photos, "7.txt"));
});

/** The mean of each channel, and how often it was asked. */
function meanEncoder(): PictureEncoder & { calls: number; sizes: string[] } {
  return {
    key: "mean",
    batch: 2,
    calls: 0,
    sizes: [],
    async encode(pictures) {
      this.calls++;
      this.sizes.push(pictures.map(({ width, height }) => `${width}x${height}`).join(" "));
      return pictures.map(({ data }) =>
        float32(
          [3, 1, 1],
          [0, 1, 2].map((c) => data.filter((_, i) => i % 3 === c).reduce((a, b) => a + b, 0) / 1000),
        ),
      );
    },
    dispose: async () => {},
  };
}

function lengthEncoder(): CaptionEncoder & { asked: string[] } {
  return {
    key: "length",
    batch: 2,
    asked: [],
    async encode(captions) {
      this.asked.push(...captions);
      return captions.map((caption) => ({
        text: float32([1, 1], [caption.length]),
        pooled: float32([1], [-caption.length]),
      }));
    },
    dispose: async () => {},
  };
}

let cache: string;
let count = 0;
beforeEach(() => {
  cache = join(root, `cache-${count++}`);
});

function options(o: Partial<PrepareOptions> = {}): PrepareOptions & {
  pictures: ReturnType<typeof meanEncoder>;
  captions: ReturnType<typeof lengthEncoder>;
} {
  return {
    cache,
    view: {
      buckets: makeBuckets({ resolution: 32, step: 8, hasAspects: true }),
      crop: "random",
      hasFlips: true,
      views: 1,
      seed: 3,
      minSide: 16,
    },
    background: "white",
    pictures: meanEncoder(),
    captions: lengthEncoder(),
    ...o,
  } as ReturnType<typeof options>;
}

const source = () => openSource([photos]);

const message = (p: Promise<unknown>): Promise<string> =>
  p.then(
    () => "no error",
    (error: Error) => error.message,
  );

describe("a prepared data set", () => {
  it("has every good picture and caption encoded once, and tells what it left out", async () => {
    const warnings: string[] = [];
    const progress: string[] = [];
    const o = options({
      log: { warn: (text) => warnings.push(text), debug: () => {} },
      onProgress: (stage, done, total) => progress.push(`${stage} ${done}/${total}`),
    });
    const data = await prepareData(await source(), o);
    expect(data.samples.map(({ id }) => id)).toEqual([
      "0.png",
      "1.png",
      "2.png",
      "3.png",
      "4.png",
      "5.png",
      "again.png",
    ]);
    // three squares, of which the one that is there twice counts once, then the wide and the high
    expect(o.pictures.sizes).toEqual(["32x32 32x32", "32x32", "40x24 40x24", "24x40"]);
    expect(o.captions.asked.sort()).toEqual(["", "picture 0", "picture 1", "picture 2", "picture again"]);
    expect(data.census).toMatchObject({
      pictures: 7,
      captions: 7,
      meanWords: 2,
      meanTokens: null,
      skipped: { "missing file": 0, "no caption": 1, broken: 1, "too small": 1 },
      buckets: [
        { bucket: "32x32", pictures: 4 },
        { bucket: "40x24", pictures: 2 },
        { bucket: "24x40", pictures: 1 },
      ],
    });
    expect(warnings).toEqual([
      "left out 6.png (too small): picture: expected sides of at least 16 px, got 10x10 px [E_IMAGE]",
      "left out 7.png (no caption): neither 7.txt nor metadata.jsonl has one",
      "left out broken.png (broken): picture: expected a PNG, JPEG or WebP file that is whole, got Input buffer contains unsupported image format [E_IMAGE]",
    ]);
    expect(progress.slice(-4)).toEqual(["pictures 10/10", "captions 2/5", "captions 4/5", "captions 5/5"]);
    const [first] = data.samples;
    if (first === undefined) throw new Error("no sample");
    for await (const raw of (await source()).samples(() => {})) {
      if (raw.id !== "0.png") continue;
      const view = planView({ width: 40, height: 40 }, raw.hash, 0, o.view);
      expect(first.views).toEqual([view]);
      const [expected] = await meanEncoder().encode([await decodeView(raw.bytes, view, "white")]);
      expect(await data.picture(first, 0)).toEqual(expected);
    }
    expect(await data.caption("")).toEqual({ text: float32([1, 1], [0]), pooled: float32([1], [-0]) });
  });

  it("is opened again without a look at the pictures, and prepared again without encoding", async () => {
    const made = await prepareData(await source(), options());
    const opened = await openPrepared(await source(), options());
    expect(opened.samples).toEqual(made.samples);
    expect(opened.census).toEqual(made.census);
    const again = options();
    const remade = await prepareData(await source(), again);
    expect([again.pictures.calls, again.captions.asked]).toEqual([0, []]);
    expect(remade.samples).toEqual(made.samples);
    const loader = {
      seed: 1,
      batch: 2,
      isBalanced: false,
      emptyCaptions: 0,
      rank: 0,
      world: 1,
      hasText: true,
    };
    const [a, b] = [batchLoader(made, loader), batchLoader(opened, loader)];
    for (const step of [0, 5, 11]) {
      const batch = await b.at(step);
      expect(batch).toEqual(await a.at(step));
      const views = batch.ids.map((id) => opened.samples.find((s) => s.id === id)?.views[0]);
      expect(batch.sizes).toEqual(views.flatMap((view) => (view === undefined ? [] : sizeNumbers(view))));
    }
  });

  it("goes on after an abort or an error with what was ready", async () => {
    const whole = await prepareData(await source(), options({ cache: join(cache, "whole") }));
    const stop = new AbortController();
    const first = options({ signal: stop.signal });
    const encode = first.pictures.encode;
    first.pictures.encode = async function (this: ReturnType<typeof meanEncoder>, pictures) {
      if (this.calls === 1) stop.abort(new Error("stopped by hand"));
      return encode.call(this, pictures);
    };
    expect(await message(prepareData(await source(), first))).toBe("stopped by hand");
    expect(await message(openPrepared(await source(), options()))).toBe(
      `${photos}: expected a prepared data set in ${cache}, got none for this data and these options [E_FILE]\nPrepare it first.`,
    );
    const second = options();
    second.captions.encode = () => Promise.reject(new Error("out of memory"));
    expect(await message(prepareData(await source(), second))).toBe("out of memory");
    expect(second.pictures.calls).toBe(2); // of four batches two were ready
    const third = options();
    const data = await prepareData(await source(), third);
    expect(third.pictures.calls).toBe(0);
    expect(data.samples).toEqual(whole.samples);
    for (const sample of data.samples)
      expect(await data.picture(sample, 0)).toEqual(await whole.picture(sample, 0));
  });

  it("of other options or weights is another; captions are shared where their encoder is the same", async () => {
    await prepareData(await source(), options());
    const larger = options();
    const view = { ...larger.view, buckets: makeBuckets({ resolution: 48, step: 8, hasAspects: false }) };
    await prepareData(await source(), { ...larger, view });
    expect([larger.pictures.calls > 0, larger.captions.asked]).toEqual([true, []]);
    const retrained = options();
    await prepareData(await source(), {
      ...retrained,
      pictures: { ...meanEncoder(), key: "mean, retrained" },
    });
    expect(readdirSync(cache).filter((name) => name.startsWith("pictures-"))).toHaveLength(3);
    expect(readdirSync(cache).filter((name) => name.startsWith("captions-"))).toHaveLength(1);
  });

  it("may keep several views of a picture, one mirrored and one not, and no text", async () => {
    const o = { ...options(), captions: null, pictures: pixelEncoder };
    const data = await prepareData(await source(), { ...o, view: { ...o.view, views: 2 } });
    const [first] = data.samples;
    if (first === undefined) throw new Error("no sample");
    expect(first.views.map(({ isFlipped }) => isFlipped).sort()).toEqual([false, true]);
    const { shape, dtype } = await data.picture(first, 1);
    expect([dtype, shape]).toEqual(["uint8", [3, 32, 32]]);
    expect(await message(data.caption(""))).toBe(
      "captions: expected a data set prepared with text encoders, got one without [E_CONFIG]",
    );
    const loader = {
      seed: 1,
      batch: 2,
      isBalanced: false,
      emptyCaptions: 0,
      rank: 0,
      world: 1,
      hasText: false,
    };
    const { pictures } = await batchLoader(data, loader).at(0);
    expect(toFloat32(pictures as Tensor).every((v) => v >= -1 && v <= 1)).toBe(true);
  });

  it("whose cache lost a file says so", async () => {
    await prepareData(await source(), options());
    const folder = readdirSync(cache).find((name) => name.startsWith("pictures-")) ?? "";
    rmSync(join(cache, folder, "00000.safetensors"));
    expect(await message(openPrepared(await source(), options()))).toBe(
      `${photos}: expected the encoded picture of 0.png in ${cache}, got none [E_FILE]\nPrepare the data set again: what is there is kept.`,
    );
  });

  it("of nothing usable is an error", async () => {
    const o = options();
    const huge = { ...o, view: { ...o.view, minSide: 1000 } };
    expect(await message(prepareData(await source(), huge))).toBe(
      `${photos}: expected at least one picture that can be used, got 1 no caption, 1 broken, 8 too small [E_FILE]\nleft out 0.png (too small): picture: expected sides of at least 1000 px, got 40x40 px [E_IMAGE]`,
    );
  });
});

describe("a survey", () => {
  it("counts what preparing would count, from the files alone", async () => {
    const o = options();
    const { census } = await prepareData(await source(), o);
    const seen: number[] = [];
    for (const isThorough of [false, true]) {
      const onProgress = (done: number): number => seen.push(done);
      expect(await surveyData(await source(), { view: o.view, isThorough, onProgress })).toEqual(census);
    }
    expect(seen.at(-1)).toBe(10);
  });

  it("that is thorough finds pictures that end too soon", async () => {
    const o = options();
    const view = { ...o.view, minSide: 1 };
    const parquet = await openSource(["test/fixtures/data/images.parquet"]);
    const quick = await surveyData(parquet, { view, isThorough: false });
    const thorough = await surveyData(parquet, { view, isThorough: true });
    expect([quick.pictures, thorough.pictures, thorough.skipped.broken]).toEqual([4, 3, 1]);
    expect(thorough.named[1]?.id).toBe("images.parquet#3");
  });
});
