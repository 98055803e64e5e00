/** Presets at their real size: written with random weights, drawn from, measured, taken away. */

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { readPicture } from "../../src/node/image-file.ts";

const bin = resolve(import.meta.dirname, "../../bin/koala.js");
let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-presets-"));
});
afterEach(() => rmSync(join(folder, "model"), { recursive: true, force: true }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function koala(
  argv: readonly string[],
  during: (err: string, stop: () => void) => void = () => {},
): Promise<Ended> {
  const child = spawn(process.execPath, [bin, ...argv], { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  const said = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => {
    said.out += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    said.err += chunk;
    during(said.err, () => child.kill("SIGINT"));
  });
  return new Promise((done) => child.on("close", (code) => done({ code, ...said })));
}

const { bavail, bsize } = statfsSync(tmpdir());
const hasRoom = bavail * bsize > 8e9;

/** The bounds: what a 512 px step of KOALA-700M may take (4.3 GB), and the same share of BK-SDM-Tiny's weights. */
describe.skipIf(!hasRoom)("a folder of random weights", () => {
  it.each([
    ["koala-700m", 4.3e9],
    ["bk-sdm-tiny", 3e9],
  ])("of %s in float16 draws a picture within its memory", async (name, mostBytes) => {
    const made = await koala(["init", name, "model", "--dtype", "float16", "--quiet"]);
    expect([made.code, made.err]).toEqual([0, ""]);
    const flags = ["--width", "256", "--height", "256", "--steps", "1", "--guidance", "1", "--seed", "1"];
    const drawn = await koala([
      "generate",
      "a koala",
      "--model",
      "model",
      ...flags,
      "--output",
      "a.png",
      "--json",
    ]);
    expect(drawn.code, drawn.err).toBe(0);
    const { peakMemoryBytes, files, warnings } = JSON.parse(drawn.out);
    expect([files, warnings]).toEqual([[{ file: "a.png", seed: 1 }], []]);
    expect(peakMemoryBytes).toBeLessThan(mostBytes);
    expect(await readPicture(join(folder, "a.png"))).toMatchObject({ width: 256, height: 256 });
    rmSync(join(folder, "a.png"));
  });

  it("leaves nothing when Ctrl-C comes while it is written", async () => {
    let isStopped = false;
    const { code, out } = await koala(["init", "koala-1b", "model"], (err, stop) => {
      if (isStopped || !err.includes("write: ")) return;
      isStopped = true;
      stop();
    });
    expect([code, out, existsSync(join(folder, "model")), readdirSync(folder)]).toEqual([130, "", false, []]);
  });
});
