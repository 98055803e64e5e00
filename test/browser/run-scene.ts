/** A training run's folder, as the page shows one: a log that goes down, and two sheets of samples. */

import { copyFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { RunFolder } from "../../src/node/runs/folder.ts";
import { parseRun } from "../../src/train/config.ts";

const sheet = resolve(import.meta.dirname, "../golden/emoji/0.png");

export async function writeRun(root: string, name: string): Promise<void> {
  const run = parseRun({ kind: "unet", model: "koala-emoji", data: ["pictures"], steps: 400 });
  const folder = await RunFolder.create(join(root, name), run);
  for (let step = 1; step <= 300; step++) {
    const loss = 0.4 * step ** -0.3 * (1 + 0.1 * Math.sin(7 * step));
    await folder.log({
      ...{ step, loss, terms: { task: 0.7 * loss, feature: 0.3 * loss } },
      ...{ gradientNorm: 1, rate: 1e-4, seconds: 0.5, picturesPerSecond: 16 },
    });
  }
  for (const step of [100, 300]) await copyFile(sheet, folder.samplePath(step));
}
