import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { inEmptyFolders, type Ran, run } from "../../../../test/fake-world.ts";

const model = resolve("models/koala-emoji");
inEmptyFolders();

const analyze = (...argv: string[]): Promise<Ran> => run(["analyze", ...argv]);

test("leaves pictures, numbers and a page", async () => {
  const { code, out } = await analyze(
    ...[model, "a red apple", "--steps", "2", "--word", "apple", "--out", "look", "--quiet"],
  );
  expect([code, out]).toEqual([0, "look/report.html\n"]);
  const files = readdirSync("look");
  for (const name of [
    "analysis.json",
    "picture.png",
    "pca.png",
    "report.html",
    "strip.png",
    "similarity.svg",
  ])
    expect(files).toContain(name);
  expect(files.filter((name) => name.startsWith("word-attention-")).length).toBeGreaterThan(1);
});

test("its page has the command that makes it again", async () => {
  const flags = [
    "--steps",
    "2",
    "--only",
    "strip,similarity",
    "--point",
    "0.2,0.5",
    "--out",
    "my look",
    "--quiet",
  ];
  await analyze(model, "it's red", ...flags);
  expect(JSON.parse(readFileSync("my look/analysis.json", "utf8")).command).toBe(
    `koala analyze ${model} 'it'\\''s red' --out 'my look' --steps 2 --point 0.2,0.5 --only strip,similarity --quiet`,
  );
});

test("stops on Ctrl-C with 130, and leaves nothing", async () => {
  const onInterrupt = (stop: () => void) => {
    setTimeout(stop, 200);
    return () => {};
  };
  const argv = ["analyze", model, "a red apple", "--steps", "500", "--out", "look"];
  const { code, out, err } = await run(argv, { world: { onInterrupt } });
  expect([code, out]).toEqual([130, ""]);
  expect(err).toMatch(/Stopped; nothing half-made is left\.\n$/);
  expect(readdirSync(".")).toEqual([]);
});

test.each([
  [["--threads", "0"], '--threads: expected a whole number from 1 to 1024, got "0" [E_FLAG]'],
  [["--point", "2,0"], "--point: expected two shares from 0 to 1, such as 0.5,0.25, got 2,0 [E_FLAG]"],
  [
    ["--only", "pcb"],
    "--only: expected some of similarity, attention, pca, strip, got pcb [E_FLAG]\nDid you mean pca?",
  ],
])("%s is refused", async (flags, sentence) => {
  const { code, err } = await analyze(model, "a red apple", "--out", "look", ...flags);
  expect(code).toBe(2);
  expect(err).toContain(sentence);
});

test("without a folder nothing is drawn", async () => {
  const { code, err } = await analyze(model, "a red apple");
  expect(code).toBe(2);
  expect(err).toBe(
    "--out: expected a new folder for the report, got nothing [E_FLAG]\nkoala analyze --help lists what it takes.\n",
  );
});
