/** `koala bench` as people run it: fresh processes, and what they find afterwards. */

import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { emojiModel } from "../model-folder.ts";

const bin = resolve(import.meta.dirname, "../../bin/koala.js");
let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-bench-test-"));
  mkdirSync(join(folder, "tmp"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function koala(
  argv: readonly string[],
  during: (child: ChildProcess, err: string) => void = () => {},
): Promise<Ended> {
  const own = ["--cache", join(folder, "cache"), "--out", join(folder, "out")];
  const env = { ...process.env, TMPDIR: join(folder, "tmp") };
  const child = spawn(process.execPath, [bin, "bench", ...argv, ...own], { cwd: folder, env });
  const said = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => {
    said.out += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    said.err += chunk;
    during(child, said.err);
  });
  return new Promise((done) => child.on("close", (code) => done({ code, ...said })));
}

/** What of ours lies in the temporary folder; ONNX Runtime keeps logs of its own there. */
const leftovers = (): string[] => readdirSync(join(folder, "tmp")).filter((name) => name.startsWith("koala"));

it("draws a picture in a fresh process and says what it took, as table, JSON and chart", async () => {
  const { code, out } = await koala(["image", "--rounds", "1", "--engine", "ort", "--against", "none"]);
  expect(code).toBe(0);
  expect(out).toMatch(/^A picture: koala-emoji, 128 px, 20 steps, guidance 3\.5, \d+ threads\n/);
  expect(out).toMatch(/\nkoala ort f32 +\d+\.\d\d +0\.\d\d\n/);
  const json = JSON.parse(readFileSync(join(folder, "out/image.json"), "utf8"));
  const [contender] = json.contests[0].contenders;
  expect(contender.runs.length).toBe(1); // the warm-up does not count
  expect(contender.runs[0].said.timings.totalSeconds).toBeLessThan(contender.runs[0].seconds);
  expect(contender.measures.peak.median).toBeGreaterThan(0.1);
  expect(json.machine).toMatchObject({ node: process.version });
  expect(readFileSync(join(folder, "out/image.svg"), "utf8")).toContain(">koala ort f32<");
  expect(leftovers()).toEqual([]);
});

it("measures a U-Net of random weights, and says in one sentence who is not there", async () => {
  const argv = ["unet", "tiny", "--size", "64", "--engine", "ort", "--rounds", "2", "--json"];
  const { code, out } = await koala([...argv, "--python", process.execPath, "--precision", "f32"]);
  expect(code).toBe(0);
  const { contests, remarks } = JSON.parse(out);
  expect(contests[0].contenders.map(({ name }: { name: string }) => name)).toEqual(["koala ort f32"]);
  expect(contests[0].contenders[0].measures.step.count).toBe(6);
  expect(remarks).toContain(
    "Without diffusers, OpenVINO: there is no Python with it; scripts/peers/install.sh makes one.",
  );
});

it("computes the figure of a model from a few of its steps", async () => {
  const { code, out } = await koala(["models", "tiny", "--engine", "ort", "--steps", "3", "--json"]);
  expect(code).toBe(0);
  const [figure] = JSON.parse(out).figures;
  expect(figure).toMatchObject({
    preset: "tiny",
    steps: 20,
    measured: { drawn: 3, extraCalls: 0, from: "tiny" },
  });
  expect(figure.measured.step.count).toBe(2);
  expect(existsSync(join(folder, "cache/models/tiny"))).toBe(true); // the U-Net's question made it, so it stays
});

it("holds integers against floats, and scores both", async () => {
  const scorer = resolve(import.meta.dirname, "../../scripts/emoji/trained/scorer");
  const argv = ["quality", emojiModel, "tiny"];
  const wrong = await koala([...argv, "--count", "2", "--steps", "2"]);
  expect(wrong.code).toBe(2); // quality draws with folders
  const both = ["quality", emojiModel, join(folder, "copy")];
  cpSync(emojiModel, join(folder, "copy"), { recursive: true });
  const right = await koala([...both, "--count", "4", "--steps", "2", "--scorer", scorer, "--json"]);
  expect(right.code).toBe(0);
  const { rows, prompts, ways } = JSON.parse(right.out);
  expect([prompts, ways, rows.length]).toEqual([4, 4, 2]);
  expect(rows[0].psnr).toMatchObject({ count: 4 });
  expect(rows[0].gain).toEqual({ value: 0, low: 0, high: 0 }); // the same model
});

it("stops on Ctrl-C: 130, the child gone, nothing left in the temporary folder", async () => {
  let isPressed = false;
  const argv = ["image", "--rounds", "9", "--steps", "200", "--engine", "ort", "--against", "none"];
  const { code, err } = await koala(argv, (child, soFar) => {
    if (isPressed || !soFar.includes("warm-up")) return;
    isPressed = true;
    setTimeout(() => child.kill("SIGINT"), 1500);
  });
  expect([code, err.trim().split("\n").at(-1)]).toEqual([
    ...[130, "Stopped; what was made and converted is kept for the next time."],
  ]);
  expect(leftovers()).toEqual([]);
});
