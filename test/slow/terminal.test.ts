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
  const child = spawn("script", ["-qefc", `stty cols 80 rows 24; ${command}`, "/dev/null"], {
    cwd: folder,
    env: { ...process.env, TERM: "xterm-256color", NO_COLOR: "" },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let raw = "";
  child.stdout.on("data", (chunk: Buffer) => {
    raw += chunk;
    during(child, raw);
  });
  return new Promise((done) => child.on("close", (code) => done({ raw, code })));
}

/** The lines that remain on the screen: carriage returns, cursor columns and erasing, which is all that a bar needs. */
function screen(raw: string): string[] {
  const lines: string[][] = [[]];
  let column = 0;
  const line = (): string[] => lines.at(-1) as string[];
  const tokens = raw.matchAll(/\x1b\[([\d;?]*)([A-Za-z])|\x1b[78]|\r|\n|[^\x1b\r\n]/gu);
  for (const [token, digits = "", letter] of tokens) {
    if (token === "\r") column = 0;
    else if (token === "\n") {
      lines.push([]);
      column = 0;
    } else if (letter === "G") column = Number(digits || 1) - 1;
    else if (letter === "K") line().length = digits === "2" ? 0 : Math.min(column, line().length);
    else if (letter === "J") line().length = Math.min(column, line().length);
    else if (letter === undefined && !token.startsWith("\x1b")) {
      while (line().length < column) line().push(" ");
      line()[column++] = token;
    }
  }
  return lines.map((characters) => characters.join("").trimEnd()).filter((text) => text !== "");
}

describe.skipIf(!hasScript)("koala in a terminal", () => {
  it("shows a bar with the time left, which is gone at the end, and no line that is too long", async () => {
    const { raw, code } = await inTerminal(
      `${process.execPath} ${bin} generate "red apple" --seed 1 --steps 6 --output apple.png`,
    );
    expect(raw).toMatch(/denoise {2}.*█+.*░+.* [1-5]\/6 {2}\d+ s left/u);
    const shown = raw.replace(/\x1b\[[\d;?]*[A-Za-z]|\x1b[78]/g, "").split(/[\r\n]/);
    for (const line of shown) expect(line.length, line).toBeLessThanOrEqual(80 + 28 + 8); // the bar draws over itself
    const remains = screen(raw);
    expect(remains.slice(0, 2)).toEqual([
      "koala-emoji (koala-small) on ort",
      "6 steps, euler trailing, guidance 3.5, 128 x 128, seed 1",
    ]);
    expect(remains[2]).toBe("apple.png");
    expect(remains[3]).toMatch(
      /^[\d.]+ s \(load [\d.]+ s, text [\d.]+ s, denoise [\d.]+ s, decode [\d.]+ s\), \d+ MB/,
    );
    expect(remains.length).toBe(4);
    expect(raw.lastIndexOf("\x1b[?25h")).toBeGreaterThan(raw.lastIndexOf("\x1b[?25l")); // the cursor is back
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
    expect(screen(raw).at(-1)).toBe("Stopped; nothing half-made is left.");
    expect(raw.lastIndexOf("\x1b[?25h")).toBeGreaterThan(raw.lastIndexOf("\x1b[?25l"));
    expect(readdirSync(folder)).toEqual(before);
  });
});
