/** The check of explicit pictures with the real nsfwjs from the registry: its own numbers, and a server that uses it. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { nsfwBundle, nsfwClassifier } from "../../src/node/nsfw/check.ts";
import { drawn } from "../nsfw-pictures.ts";

const golden = JSON.parse(readFileSync(join(import.meta.dirname, "../golden/nsfw-tiny.json"), "utf8")) as {
  readonly pictures: readonly (readonly [number, number, number])[];
  readonly mobilenet: readonly Readonly<Record<string, number>>[];
};

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-nsfw-"));
  execFileSync("npm", ["install", "nsfwjs@4.4.0", "--legacy-peer-deps", "--prefix", folder], {
    stdio: "ignore",
  });
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("MobileNetV2 on our engine says what nsfwjs says on TensorFlow.js", async () => {
  const bundle = nsfwBundle(join(folder, "here.js"));
  expect(bundle.version).toBe("4.4.0");
  const classify = await nsfwClassifier(bundle);
  for (const [i, picture] of golden.pictures.entries()) {
    const scores = await classify(drawn(picture));
    for (const [name, expected] of Object.entries(golden.mobilenet[i] ?? {}))
      expect(scores[name.toLowerCase() as keyof typeof scores]).toBeCloseTo(expected, 4);
  }
});
