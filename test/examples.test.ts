/** Every example runs as a user runs it, against what is built, and is short enough to read. */

import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readPicture } from "../src/node/image-file.ts";

const folder = resolve(import.meta.dirname, "../examples");
let work = "";
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "koala-examples-"));
});
afterAll(() => rmSync(work, { recursive: true }));

async function runExample(name: string, ...argv: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [join(folder, name), ...argv], {
    cwd: work,
  });
  return stdout;
}

/** What is known of each; an example without a line here is one that nobody runs. */
const examples: Readonly<Record<string, () => Promise<void>>> = {
  async "draw.js"() {
    expect(await runExample("draw.js", "a red apple", "apple.png")).toBe("apple.png: 128 x 128 px, seed 1\n");
    const { width, data } = await readPicture(join(work, "apple.png"));
    expect(width).toBe(128);
    let [red, green] = [0, 0];
    for (let i = 0; i < data.length; i += 3)
      [red, green] = [red + (data[i] ?? 0), green + (data[i + 1] ?? 0)];
    expect(red).toBeGreaterThan(green); // an apple that is red
  },
  async "draw-over.js"() {
    await runExample("draw.js", "a red apple", "apple.png");
    expect(await runExample("draw-over.js", "apple.png")).toBe(
      "over.png: 128 x 128 px\nupper.png: 128 x 128 px\n",
    );
    const [before, after] = [
      await readPicture(join(work, "apple.png")),
      await readPicture(join(work, "upper.png")),
    ];
    const half = before.data.length / 2;
    expect(after.data.subarray(half)).toEqual(before.data.subarray(half));
    expect(after.data.subarray(0, half)).not.toEqual(before.data.subarray(0, half));
  },
  async "watch.js"() {
    expect(await runExample("watch.js")).toMatch(
      /^20 steps of euler at guidance 3\.5\ntext: 2 text encoders\nload: U-Net\ndenoise: picture 1 of 1\n(step [12] of 20, sigma [\d.]+\n {2}a rough picture of \d+ px\n){2}step 3 of 20, sigma [\d.]+\nstopped: three steps are enough\n$/,
    );
  },
  async "differentiate.js"() {
    // by hand: x w - t = [-1.5, -0.5], loss (2.25 + 0.25) / 2, slope x' (x w - t)
    expect(await runExample("differentiate.js")).toMatch(
      /\nloss 1\.25, slope -3,-5\nin float64: slope -3,-5\n$/,
    );
  },
};

it.each(readdirSync(folder))("examples/%s does what it says, in less than 30 lines", async (name) => {
  expect(Object.keys(examples)).toContain(name);
  await examples[name]?.();
  const text = readFileSync(join(folder, name), "utf8");
  expect(text.split("\n").length).toBeLessThanOrEqual(30);
  expect(text).not.toMatch(/from "\.\.?\//);
});
