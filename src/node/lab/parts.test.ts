/** Parts of a study that need no bench: data in another form, what a teacher is, commands, the end of a log. */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { inEmptyFolders } from "../../../test/fake-world.ts";
import { writeFamily } from "../../../test/model-folder.ts";
import type { StepRecord } from "../../train/run.ts";
import { openFolder } from "../files.ts";
import { encodePicture, readPicture } from "../image-file.ts";
import { cutArguments, trainedOf } from "./bench.ts";
import { distillCommand } from "./commands.ts";
import { teacherFacts } from "./facts.ts";
import { chosenCaption, writeVariant } from "./variants.ts";

inEmptyFolders();

const pixart = new URL("../../../test/golden/pixart/alpha", import.meta.url).pathname;

const captions = ["a cat", "cat", "a small grey cat on a mat", "feline"];

describe("data in another form", () => {
  it("takes some of the pictures, makes them small, and of their captions the shortest", async () => {
    mkdirSync("data");
    const rows: string[] = [];
    for (let i = 0; i < 5; i++) {
      const picture = { width: 16, height: 8, data: new Uint8Array(3 * 16 * 8).fill(40 * i) };
      writeFileSync(`data/${i}.png`, await encodePicture(picture, "png"));
      rows.push(JSON.stringify({ file_name: `${i}.png`, captions, kind: `k${i}` }));
    }
    writeFileSync("data/metadata.jsonl", rows.join("\n"));
    const facts = await writeVariant("data", { name: "v", every: 2, shrink: 4, captions: "short" }, "out/v", {
      ...{ captions: ["captions"], balance: "kind", signal: new AbortController().signal },
    });
    expect(facts).toEqual({ pictures: 3, averageResolution: Math.sqrt(8), meanWords: 1 });
    const written = readFileSync("out/v/metadata.jsonl", "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(written).toEqual(
      [0, 2, 4].map((i, n) => ({ file_name: `00000${n}.png`, captions: "cat", kind: `k${i}` })),
    );
    const small = await readPicture(join("out/v", "000002.png"));
    expect([small.width, small.height, small.data[0]]).toEqual([4, 2, 160]);
  });
  it("leaves out what is broken", async () => {
    mkdirSync("data");
    const bytes = await encodePicture({ width: 16, height: 8, data: new Uint8Array(384).fill(9) }, "png");
    writeFileSync("data/a.png", bytes);
    writeFileSync("data/b.png", bytes.subarray(0, 70));
    for (const name of ["a", "b"]) writeFileSync(`data/${name}.txt`, "a cat");
    const variant = { name: "v", every: 1, shrink: 1, captions: "short" } as const;
    const o = { captions: ["text"], balance: null, signal: new AbortController().signal };
    expect((await writeVariant("data", variant, "out/v", o)).pictures).toBe(1);
    expect(readFileSync("out/v/metadata.jsonl", "utf8").trim().split("\n")).toHaveLength(1);
  });
  it("rich is the caption of the most words, and the first of those alike", () => {
    expect(chosenCaption(captions, "rich")).toBe("a small grey cat on a mat");
    expect(chosenCaption(["b", "c"], "rich")).toBe("b");
    expect(chosenCaption(["b", "c"], "short")).toBe("b");
  });
});

describe("what a teacher is", () => {
  it("is read off its configs", async () => {
    const { config: _, ...facts } = await teacherFacts(await openFolder(writeFamily("sdxl", "sdxl")));
    expect(facts).toEqual({
      kind: "unet",
      stages: ["DW-2", "DW-3", "Mid", "UP-1", "UP-2"],
      depths: [2, 10],
      ...{ hasMid: true, isXL: true, guidance: 5 },
    });
    const older = await teacherFacts(await openFolder(writeFamily("sd15", "sd15")));
    expect([older.isXL, older.depths]).toEqual([false, [1]]);
    const alpha = await teacherFacts(await openFolder(pixart));
    expect([alpha.kind, alpha.depths, alpha.stages]).toEqual(["transformer", [3], []]);
  });
});

describe("commands", () => {
  it("of runs and cuts are those of the command line, texts quoted where a shell would read more into them", () => {
    const fields = {
      kind: "distill",
      teacher: "my teacher",
      data: ["a", "b"],
      features: "SA:DW-2",
      minSide: 1,
    };
    expect(distillCommand(fields, "out")).toBe(
      "koala distill --method sa --teacher 'my teacher' --data a b --features SA:DW-2 --min-side 1 --out out",
    );
    expect(distillCommand({ kind: "consistency", method: "pcm", phases: 4 }, "it's")).toBe(
      "koala distill --method pcm --phases 4 --out 'it'\\''s'",
    );
    expect(cutArguments({ kind: "cut", rule: "pixart-14", keep: "last" }, "T", "S")).toEqual(
      "S --teacher T --student pixart-14 --keep last".split(" "),
    );
  });
});

it("the end of a log is the mean of its last tenth", () => {
  const records = Array.from({ length: 20 }, (_, i) => ({
    ...{ step: i + 1, loss: 1, seconds: 2, terms: { output: i } },
  })) as unknown as StepRecord[];
  expect(trainedOf(records)).toEqual({ steps: 20, seconds: 40, terms: { output: 18.5 } });
});
