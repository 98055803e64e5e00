/** `koala` in a real terminal: what a person sees, by a terminal emulator of a few lines. Needs `script` of util-linux. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const bin = resolve(import.meta.dirname, "../../bin/koala.js");
const hasScript = spawnSync("script", ["--version"]).status === 0;
let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-terminal-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Everything that reached the terminal, and what may be done while it comes. */
function inTerminal(
  command: string,
  during: (child: ChildProcess, soFar: string) => void = () => {},
): Promise<{ raw: string; code: number | null }> {
  // the shell makes place for the command: one that stayed would be ended by the same Ctrl-C and give its own exit code
  const child = spawn("script", ["-qefc", `stty cols 80 rows 24; exec ${command}`, "/dev/null"], {
    cwd: folder,
    env: { ...process.env, SHELL: "/bin/sh", TERM: "xterm-256color", NO_COLOR: "" },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let raw = "";
  child.stdout.on("data", (chunk: Buffer) => {
    raw += chunk;
    during(child, raw);
  });
  return new Promise((done) => child.on("close", (code) => done({ raw, code })));
}

const esc = "\u001b";
/** What a terminal is sent: escape sequences, ends of lines, characters. */
const tokens = new RegExp(String.raw`${esc}\[([\d;?]*)([A-Za-z])|${esc}[78]|[^${esc}]`, "gsu");

/** The lines that remain on the screen (carriage returns, columns and erasing are all that a bar needs) and the widest ever shown. */
function screen(raw: string): { lines: string[]; width: number } {
  const lines: string[][] = [[]];
  const line = (): string[] => lines.at(-1) as string[];
  let [column, width] = [0, 0];
  for (const [token, digits = "", letter] of raw.matchAll(tokens)) {
    if (token === "\r") column = 0;
    else if (token === "\n") {
      lines.push([]);
      column = 0;
    } else if (letter === "G") column = Number(digits || 1) - 1;
    else if (letter === "K" || letter === "J") line().length = Math.min(column, line().length);
    else if (!token.startsWith(esc)) {
      while (line().length < column) line().push(" ");
      line()[column++] = token;
      width = Math.max(width, column);
    }
  }
  return {
    lines: lines.map((characters) => characters.join("").trimEnd()).filter((text) => text !== ""),
    width,
  };
}

const isCursorBack = (raw: string): boolean =>
  raw.lastIndexOf(`${esc}[?25h`) > raw.lastIndexOf(`${esc}[?25l`);

describe.skipIf(!hasScript)("koala in a terminal", () => {
  it("shows a bar with the time left, which is gone at the end, and no line that is too long", async () => {
    const { raw, code } = await inTerminal(
      `${process.execPath} ${bin} generate "red apple" --seed 1 --steps 40 --output apple.png`,
    );
    expect(raw).toMatch(/denoise {2}.*█+.*░+.* \d+\/40 {2}\d+ s left/u);
    const { lines: remains, width } = screen(raw);
    expect(width).toBeLessThanOrEqual(80);
    expect(remains.slice(0, 2)).toEqual([
      "koala-emoji (koala-small) on ort: the quickest for a small model",
      "40 steps, euler trailing, guidance 3.5, 128 x 128, seed 1",
    ]);
    expect(remains[2]).toBe("apple.png");
    expect(remains[3]).toMatch(
      /^[\d.]+ s \(load [\d.]+ s, text [\d.]+ s, denoise [\d.]+ s, decode [\d.]+ s\), peak \d+ MB$/,
    );
    expect(remains.length).toBe(4);
    expect(isCursorBack(raw)).toBe(true);
    expect(code).toBe(0);
    expect(readdirSync(folder)).toEqual(["apple.png"]);
  });

  it("stops on Ctrl-C typed while it denoises: 130, within a step, no file, the cursor back", async () => {
    let pressedMs = 0;
    const before = readdirSync(folder);
    const { raw, code } = await inTerminal(
      `${process.execPath} ${bin} generate "cat face" --steps 1000 --preview --output cat.png`,
      (child, soFar) => {
        if (pressedMs !== 0 || !/ [3-9]\/1000/.test(soFar)) return;
        pressedMs = performance.now();
        child.stdin?.write("\x03");
      },
    );
    expect(pressedMs).toBeGreaterThan(0);
    expect(performance.now() - pressedMs).toBeLessThan(3000); // a step takes 0.1 s; the rest is the process's end
    expect(code).toBe(130);
    expect(screen(raw).lines.at(-1)).toBe("Stopped; nothing half-made is left.");
    expect(isCursorBack(raw)).toBe(true);
    expect(readdirSync(folder)).toEqual(before);
  });
});

describe.skipIf(!hasScript)("koala serve in a terminal", () => {
  it("says where what is, with the token in the page's address, and ends on Ctrl-C", async () => {
    let isStopped = false;
    const { raw, code } = await inTerminal(
      `node ${bin} serve --port 0 --data ${join(folder, "data")} --token "s3/t" --threads 1`,
      (child, soFar) => {
        if (isStopped || !soFar.includes("Ctrl-C stops.")) return;
        isStopped = true;
        child.stdin?.write("\u0003");
      },
    );
    const { lines, width } = screen(raw);
    const url = lines[0] ?? "";
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(lines.slice(1).map((line) => line.replace("^C", ""))).toEqual([
      `  Studio  ${url}/?token=s3%2Ft`,
      `  OpenAI  ${url}/v1`,
      `  A1111   ${url}`,
      `  API     ${url}/openapi.json`,
      "  Models  koala-emoji",
      `  Data    ${join(folder, "data")}`,
      "  Ctrl-C stops.",
      "Stopping: pictures that are not done are drawn after the next start.",
    ]);
    expect(width).toBeLessThanOrEqual(80);
    expect(code).toBe(0);
  });
});
