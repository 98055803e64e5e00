/** The command line as people meet it: a process with a standard output, a standard error and an exit code. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readPicture } from "../src/node/image-file.ts";
import { readText } from "../src/node/png-text.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";

const root = join(import.meta.dirname, "..");
let folder = "";

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
  readonly seconds: number;
}

function start(program: string, argv: readonly string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const startMs = performance.now();
  const child = spawn(program, argv, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  const said = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => {
    said.out += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    said.err += chunk;
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...said, seconds: (performance.now() - startMs) / 1000 }));
  });
  return { child, ended };
}

const koala = (...argv: string[]): Promise<Ended> =>
  start(process.execPath, [join(root, "bin/koala.js"), ...argv]).ended;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-process-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("the koala process", () => {
  it("draws a picture: its name on stdout, plain lines on stderr, its request inside", async () => {
    const { code, out, err } = await koala("generate", "red apple", "--seed", "1");
    expect(err).toContain("20 steps, euler trailing, guidance 3.5, 128 x 128, seed 1\n");
    expect(err).not.toContain("\x1b");
    expect([code, out]).toEqual([0, "koala-red-apple-1.png\n"]);
    expect(await readPicture(join(folder, "koala-red-apple-1.png"))).toMatchObject({
      width: 128,
      height: 128,
    });
    const { parameters } = readText(readFileSync(join(folder, "koala-red-apple-1.png")), "apple");
    expect(parameters).toMatch(
      /^red apple\nSteps: 20, Sampler: Euler, Schedule type: SGM Uniform, CFG scale: 3\.5, Seed: 1, Size: 128x128, Model: koala-emoji/,
    );
  });

  it("repeats a picture, and picture i of several is the one from seed + i", async () => {
    const argv = ["generate", "red apple", "--seed", "0", "--steps", "3", "--count", "2"];
    const { out } = await koala(...argv, "--output", "n.png", "--json");
    expect(JSON.parse(out)).toMatchObject({
      files: [
        { file: "n-0.png", seed: 0 },
        { file: "n-1.png", seed: 1 },
      ],
    });
    await koala("generate", "--from", "n-1.png", "--output", "again.png");
    expect(await readPicture(join(folder, "again.png"))).toEqual(await readPicture(join(folder, "n-1.png")));
  });

  it("draws the very bytes that the library draws from the same seed", async () => {
    const pipeline = await Pipeline.load(join(root, "models/koala-emoji"));
    const drawn = [];
    for await (const event of pipeline.generate({ prompt: "red apple", seed: 1 }))
      if (event.type === "image") drawn.push(event.picture);
    await pipeline.dispose();
    expect(drawn).toEqual([await readPicture(join(folder, "koala-red-apple-1.png"))]);
  });

  it("stops on Ctrl-C within a step: exit code 130, no file, no part of one", async () => {
    const before = readdirSync(folder);
    const argv = ["generate", "cat face", "--steps", "1000", "--preview", "--output", "cat.png"];
    const { child, ended } = start(process.execPath, [join(root, "bin/koala.js"), ...argv]);
    child.stderr?.on("data", (chunk: Buffer) => {
      if (chunk.includes("denoise: step 1 of")) child.kill("SIGINT");
    });
    const { code, out, err } = await ended;
    expect([code, out]).toEqual([130, ""]);
    expect(err).toMatch(/Stopped; nothing half-made is left\.\n$/);
    expect(readdirSync(folder)).toEqual(before);
  });

  it("ends in silence when a pipe has read enough", async () => {
    const koalaPath = join(root, "bin/koala.js");
    const line = `"${process.execPath}" "${koalaPath}" inspect "${join(root, "models/koala-emoji")}" | head -1`;
    const { out, err } = await start("sh", ["-c", line]).ended;
    expect(out).toContain("StableDiffusionXLPipeline");
    expect(err).toBe("");
  });

  it("draws on when nobody reads its messages", async () => {
    const koalaPath = join(root, "bin/koala.js");
    const line = `"${process.execPath}" "${koalaPath}" generate apple --steps 3 --output unheard.png 2>&1 >/dev/null | head -c 1`;
    await start("sh", ["-c", line]).ended;
    expect(readdirSync(folder)).toContain("unheard.png");
    rmSync(join(folder, "unheard.png"));
  });

  it.runIf(existsSync("/dev/full"))("says so when the result has no place", async () => {
    const koalaPath = join(root, "bin/koala.js");
    const line = `"${process.execPath}" "${koalaPath}" engines > /dev/full`;
    const { code, err } = await start("sh", ["-c", line]).ended;
    expect([code, err]).toEqual([
      1,
      "standard output: expected a place for the result, got ENOSPC [E_OUTPUT]\n",
    ]);
  });

  it("says mistakes in one sentence with exit code 2 and nothing on stdout", async () => {
    const { code, out, err } = await koala("generate", "apple", "--stepz", "3");
    expect(err).toBe(
      "--stepz: expected a flag of koala generate, got an unknown name [E_FLAG]\nDid you mean --steps?\n",
    );
    expect([code, out]).toEqual([2, ""]);
  });

  it("finds an unwritable output before it loads a model", async () => {
    const { code, err } = await koala("generate", "apple", "--output", "none/apple.png");
    expect(err).toBe(
      "none/apple.png: expected a folder none to write into, got no such file or folder [E_OUTPUT]\nMake it first: mkdir -p none\n",
    );
    expect(code).toBe(2);
  });

  it.each([
    ["", "--output: expected a picture's name or a folder that is there, got an empty one [E_OUTPUT]\n"],
    [
      "none/",
      "--output: expected a picture's name or a folder that is there, got none/ [E_OUTPUT]\nMake it first: mkdir -p none/\n",
    ],
  ])("refuses the name %j for a picture before it loads a model", async (name, sentence) => {
    const { code, err } = await koala("generate", "apple", "--output", name);
    expect([code, err]).toEqual([2, sentence]);
  });

  it("is what npx finds in the repository", async () => {
    await start(process.execPath, [join(root, "scripts/link-bin.js")]).ended;
    const { code, out } = await start(join(root, "node_modules/.bin/koala"), ["--version"]).ended;
    expect([code, out]).toEqual([
      0,
      `${JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version}\n`,
    ]);
  });
});
