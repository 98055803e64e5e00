/** `koala eval` with a generator that draws flat pictures, and the tiny scorer of test/golden/evaluation. */

import { mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeGenerator, inEmptyFolders, type Ran, run as runIn } from "../../../../test/fake-world.ts";
import { writeFamily } from "../../../../test/model-folder.ts";
import { writeScorer } from "../../../../test/scorer-folder.ts";
import { encodePicture } from "../../image-file.ts";
import { realWorld } from "../world.ts";

inEmptyFolders();

const colours = ["red", "green", "blue", "grey", "white", "black"];

/** A folder of `count` flat pictures of 16 x 8 px with captions in two groups. */
async function writeData(folder: string, count = 6, hasGroups = true): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const rows: string[] = [];
  for (let i = 0; i < count; i++) {
    const data = new Uint8Array(3 * 16 * 8).map((_, p) => (p * (i + 1)) % 256);
    writeFileSync(join(folder, `${i}.png`), await encodePicture({ width: 16, height: 8, data }, "png"));
    const group = hasGroups ? { group: i % 2 === 0 ? "warm" : "cold" } : {};
    rows.push(JSON.stringify({ file_name: `${i}.png`, text: `${colours[i]} square`, ...group }));
  }
  writeFileSync(join(folder, "metadata.jsonl"), rows.join("\n"));
}

beforeEach(async () => {
  await writeData("data/train");
  await writeData("data/held-out", 4);
  writeScorer("scorer");
  mkdirSync("models/teacher", { recursive: true });
  mkdirSync("models/student", { recursive: true });
  for (const name of ["teacher", "student"]) writeFileSync(`models/${name}/model_index.json`, "{}");
});

/** Seeds in the order in which pictures were drawn. */
let seeds: number[] = [];

class CountingGenerator extends FakeGenerator {
  override generate(...[input, o]: Parameters<FakeGenerator["generate"]>) {
    seeds.push(input.seed ?? -1);
    return super.generate(input, o);
  }
}

const run = (...argv: string[]): Promise<Ran> => {
  seeds = [];
  return runIn(["eval", ...argv], {
    generator: new CountingGenerator(),
    world: { openModel: realWorld.openModel },
  });
};

const usual = [
  "models/teacher",
  "--data",
  "data",
  "--scorer",
  "scorer",
  "--out",
  "out",
  "--ways",
  "3",
  "--offline",
];

describe("koala eval", () => {
  it("prints a column a model, and what the real pictures get", async () => {
    const { code, out, err } = await run(
      "models/teacher",
      "models/student",
      ...usual.slice(1),
      "--split",
      "train",
    );
    expect(err).toContain("teacher, train: 6 pictures drawn, 0 were there");
    expect(code).toBe(0);
    const [heads, ...lines] = out.split("\n");
    expect(heads).toMatch(/^train, 6 captions +teacher +student +real pictures$/);
    expect(lines.map((line) => line.split(/ {2,}/)[0]).slice(0, 8)).toEqual([
      "R-precision, 3-way ↑",
      "R-precision, share of the real ↑",
      "CLIPScore ↑",
      "cosine of picture and caption ↑",
      "Fréchet distance ↓",
      "kernel distance (KID) ↓",
      "nearest training picture, mean cosine",
      "share with one nearer than 0.95",
    ]);
    expect(out.trimEnd().endsWith("out/report.html")).toBe(true);
    expect(readdirSync("out").sort()).toEqual([
      "evaluation.json",
      "numbers.json",
      "report.html",
      "student",
      "teacher",
    ]);
  });

  it("writes a page that needs no other file", async () => {
    await run(...usual, "--split", "train,held-out");
    const page = readFileSync("out/report.html", "utf8");
    expect(page).toContain("<h2>held-out: 4 captions</h2>");
    expect(page.match(/<figure>/g)?.length).toBe(10);
    expect(page.match(/<img /g)?.length).toBe(30);
    expect(page).not.toMatch(/(src|href)="(?!data:)/);
    expect(page).toContain("<svg");
  });

  it("keeps what is drawn, and gives the same numbers again", async () => {
    await run(...usual, "--split", "train", "--count", "4");
    expect(seeds.length).toBe(4);
    const first = readFileSync("out/numbers.json", "utf8");
    rmSync(join("out/teacher/train", readdirSync("out/teacher/train")[0] ?? ""));
    await run(...usual, "--split", "train", "--count", "4");
    expect(seeds.length).toBe(1);
    expect(readFileSync("out/numbers.json", "utf8")).toBe(first);
  });

  it("draws a caption from the same seed whichever others are drawn", async () => {
    await run(...usual, "--split", "train", "--seed", "10");
    expect(seeds).toEqual([10, 11, 12, 13, 14, 15]);
    await run(
      ...usual.slice(0, 5),
      "--out",
      "few",
      "--ways",
      "3",
      "--split",
      "train",
      "--seed",
      "10",
      "--count",
      "4",
    );
    const numbers = JSON.parse(readFileSync("few/numbers.json", "utf8"));
    for (const { number, seed } of numbers.results[0].pictures) expect(seed).toBe(10 + number);
  });

  it("gives numbers as JSON", async () => {
    const { out } = await run(...usual, "--split", "train", "--json", "--metrics", "clip-score,hps,nearest");
    const { results, settings } = JSON.parse(out);
    expect(settings).toMatchObject({ data: "data", scorer: "scorer", count: 256, against: "real" });
    const [{ clipScore, hps, nearest, rPrecision, pictures }] = results;
    expect(rPrecision).toBeUndefined();
    expect(hps.drawn.value).toBeGreaterThan(-100);
    // every real picture is in the training set, and is not compared with itself
    expect(nearest.real.mean).toBeLessThan(1 - 1e-6);
    const mean = pictures.reduce((sum: number, { cosine }: { cosine: number }) => sum + cosine, 0) / 6;
    expect(clipScore.drawn.cosine.value).toBeCloseTo(mean, 12);
  });

  it("finds a model that draws the data's own pictures beyond reproach", async () => {
    await run(...usual, "--split", "train");
    for (const [i, name] of readdirSync("out/teacher/train").sort().entries())
      writeFileSync(`out/teacher/train/${name}`, readFileSync(`data/train/${i}.png`));
    const { out } = await run(...usual, "--split", "train", "--json");
    const [found] = JSON.parse(out).results;
    expect(found.frechet.value).toBeCloseTo(0, 9);
    expect(found.nearest.drawn.mean).toBeCloseTo(1, 5);
    expect(found.rPrecision.score).toEqual(found.rPrecision.real);
  });

  it("leaves out a picture whose data ends too soon, by name, before anything is drawn", async () => {
    const bytes = readFileSync("data/train/3.png");
    writeFileSync("data/train/3.png", bytes.subarray(0, 70));
    const { code, out, err } = await run(...usual, "--split", "train", "--ways", "2");
    expect(err).toMatch(
      /left out 3\.png \(broken\): picture: expected a PNG, JPEG or WebP file that is whole, got .* \[E_IMAGE\]/,
    );
    expect(code).toBe(0);
    expect(out).toMatch(/^train, 5 captions/);
    expect(seeds.length).toBe(5);
  });

  it("does not decode training pictures of which it takes the captions alone", async () => {
    const bytes = readFileSync("data/train/3.png");
    writeFileSync("data/train/3.png", bytes.subarray(0, 70));
    const { code, err } = await run(...usual, "--split", "held-out", "--metrics", "r-precision");
    expect([code, err.includes("left out")]).toEqual([0, false]);
  });

  it("measures against pictures without captions and groups", async () => {
    await writeData("plain");
    rmSync("plain/metadata.jsonl");
    const { code, out, err } = await run(...usual, "--split", "train", "--against", "plain");
    expect(err).not.toMatch(/left out|\[E_/);
    expect(code).toBe(0);
    expect(out).toContain("Fréchet distance");
  });

  it("tries a VAE alone, without a scorer", async () => {
    writeFamily("model", "koala-700m");
    const { code, out, err } = await run(
      "model",
      "--data",
      "data/train",
      "--metrics",
      "psnr",
      "--out",
      "out",
    );
    expect(err).not.toMatch(/\[E_/);
    expect(code).toBe(0);
    expect(out).toMatch(/^train, 6 captions +model\nVAE, PSNR in dB ↑ +[\d.]+ \([\d.]+ to [\d.]+\)/);
    expect(seeds).toEqual([]);
  });
});

describe("koala eval refuses", () => {
  const says = async (...argv: string[]): Promise<string> => {
    const { code, err } = await run(...argv);
    expect(code).toBe(2);
    return err
      .trim()
      .split("\n")
      .slice(err.includes("[E_") ? -2 : 0)
      .join("\n");
  };
  const help = "koala eval --help lists what it takes.";

  it.each([
    [["--out", "o"], `--data: expected captions with pictures to evaluate on, got nothing [E_FLAG]\n${help}`],
    [
      ["--data", "data"],
      `--out: expected a folder for pictures, numbers and the report, got nothing [E_FLAG]\n${help}`,
    ],
    [
      ["--data", "data", "--out", "o", "--metrics", "kid"],
      `--scorer: expected a CLIP to judge kid by, got nothing [E_FLAG]\n${help}`,
    ],
    [
      ["--metrics", "fid"],
      '--metrics: expected a list of r-precision, clip-score, hps, frechet, kid, nearest, psnr, got "fid" [E_FLAG]',
    ],
    [["--ways", "1"], '--ways: expected a whole number from 2 to 10000, got "1" [E_FLAG]'],
    [["--near", "2"], '--near: expected a number from -1 to 1, got "2" [E_FLAG]'],
  ])("%j", async (argv, sentence) => {
    const { code, err } = await run("models/teacher", ...argv);
    expect(code).toBe(2);
    expect(err.trim()).toContain(sentence);
  });

  it("data without captions", async () => {
    rmSync("data/train/metadata.jsonl");
    expect(await says(...usual, "--split", "train")).toBe(
      "data/train: expected captions with the pictures, got 6 pictures without one, such as 0.png [E_FILE]\nPut a text beside each picture (a.png, a.txt), list them in metadata.jsonl (file_name, text), or name the caption's column.",
    );
  });

  it("fewer captions in a group than R-precision chooses from, before anything is drawn", async () => {
    expect(await says(...usual.slice(0, 7), "--split", "train")).toBe(
      'data/train: expected 32 captions in a group, for 32-way R-precision, got at most 3, in "warm" [E_CONFIG]\nFewer ways (--ways) or more captions to choose from (--train) would do.',
    );
    expect(seeds).toEqual([]);
  });

  it("fewer captions than a metric needs, before anything is drawn", async () => {
    expect(await says(...usual, "--split", "train", "--count", "2")).toBe(
      "data/train: expected at least 4 captions to draw, for kid, got 2 [E_CONFIG]\nA larger --count or fewer --metrics would do.",
    );
    expect(seeds).toEqual([]);
  });

  it("data without groups", async () => {
    await writeData("data/train", 6, false);
    expect(await says(...usual, "--split", "train")).toBe(
      'data/train: expected a group with every caption, from which R-precision takes the others, got none with "red square" [E_CONFIG]\nName the field that holds it (--group), or leave r-precision out of --metrics.',
    );
  });

  it("a scorer that is no CLIP", async () => {
    const argv = usual.map((arg) => (arg === "scorer" ? "models/teacher" : arg));
    expect(await says(...argv)).toBe(
      "models/teacher: expected a CLIP to score with: config.json of a CLIPModel, got a pipeline, which draws [E_MODEL]\nA scorer is a CLIPModel as transformers saves it, both towers in one folder.",
    );
  });

  it("a folder of another evaluation, of other captions, or of something else", async () => {
    await run(...usual, "--split", "train");
    const hint = "The folder holds another evaluation: choose another --out, or remove it.";
    expect(await says(...usual, "--split", "train", "--seed", "4")).toBe(
      `out/evaluation.json (seed): expected 0, got 4 [E_OUTPUT]\n${hint}`,
    );
    const metadata = readFileSync("data/train/metadata.jsonl", "utf8");
    writeFileSync("data/train/metadata.jsonl", metadata.replace("red square", "pink square"));
    expect(await says(...usual, "--split", "train")).toBe(
      `out/evaluation.json (captions): expected the captions that this folder's pictures were drawn from, got others [E_OUTPUT]\n${hint}`,
    );
    const elsewhere = usual.map((arg) => (arg === "out" ? "data" : arg));
    expect(await says(...elsewhere, "--split", "train")).toContain(
      "data: expected an empty folder, or none yet, got 2 files, such as held-out [E_OUTPUT]",
    );
  });

  it("to mix pictures of a model before and after it changed", async () => {
    await run(...usual, "--split", "train");
    utimesSync("models/teacher/model_index.json", 1, 1);
    expect(await says(...usual, "--split", "train")).toBe(
      "out/teacher: expected pictures by models/teacher as it is now, got those of other files [E_OUTPUT]\nThe model has changed since: remove that folder to draw anew, or choose another --out.",
    );
  });

  it("a folder to measure against that is not there, before anything is drawn", async () => {
    expect(await says(...usual, "--split", "train", "--against", "other")).toBe(
      "other: expected a folder, parquet or tar file of pictures, got no such file or folder [E_FILE]",
    );
    expect(seeds).toEqual([]);
  });
});
