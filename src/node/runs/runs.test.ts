/** A run's folder, its curves and its report. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { KoalaError } from "../../core/errors.ts";
import { float32 } from "../../tensor/tensor.ts";
import { parseRun, type UNetRun } from "../../train/config.ts";
import type { StepRecord } from "../../train/run.ts";
import { openState, type TrainingState } from "../../train/state.ts";
import { packageVersion } from "../cli/package.ts";
import { openFolder } from "../files.ts";
import { adviceAfter } from "./advice.ts";
import { curvesOf, thinned } from "./curves.ts";
import { findRuns, RunFolder, readConfigFile } from "./folder.ts";
import { digits, factsOf, standing, writeReport } from "./report.ts";
import { columnsOf, samplePrompts } from "./samples.ts";

let home = "";
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "koala-runs-"));
});
afterEach(() => rmSync(home, { recursive: true }));

const run = parseRun({ kind: "unet", model: "m", data: ["<d>"], steps: 9, keep: 2 }) as UNetRun;
const record = (step: number, o: Partial<StepRecord> = {}): StepRecord => ({
  ...{ step, loss: 1 / step, terms: { task: 1 / step }, gradientNorm: step, rate: 1e-4 },
  ...{ seconds: 2, picturesPerSecond: 4, ...o },
});
const stateOf = (step: number): TrainingState => ({
  info: { step, optimizer: "adamW", meanLoss: null, extra: {} },
  tensors: new Map([["weights/w", float32([1], [step])]]),
});
const messageOf = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "nothing",
    (error: KoalaError) => error.message,
  );

describe("a run's folder", () => {
  it("holds its configuration, and opens with the same", async () => {
    const path = join(home, "a");
    await RunFolder.create(path, run);
    expect((await RunFolder.open(path, { isExact: true })).run).toEqual(run);
    expect(await findRuns(home)).toEqual([path]);
    expect(await findRuns(path)).toEqual([path]);
  });

  it("is never begun twice, nor where other things lie", async () => {
    const path = join(home, "a");
    await RunFolder.create(path, run);
    expect(await messageOf(RunFolder.create(path, run))).toBe(
      `${path}: expected a folder for a new run, got one that holds a run [E_OUTPUT]\nkoala resume ${path} goes on with it.`,
    );
    writeFileSync(join(home, "x"), "");
    rmSync(path, { recursive: true });
    expect(await messageOf(RunFolder.create(home, run))).toBe(
      `${home}: expected an empty folder, or none yet, got 1 files, such as x [E_OUTPUT]`,
    );
  });

  it("of another configuration, version or format is refused", async () => {
    const folder = await RunFolder.create(join(home, "a"), run);
    const config = join(folder.path, "config.yaml");
    const text = readFileSync(config, "utf8");
    writeFileSync(config, text.replace("steps: 9", "steps: 8"));
    expect(await messageOf(RunFolder.open(folder.path, { isExact: true }))).toBe(
      `${config}: expected the configuration that the run began with, got another one [E_CONFIG]\nUndo the change, or begin a new run with it: koala train config.yaml --out NEW.`,
    );
    expect((await RunFolder.open(folder.path, { isExact: false })).run.steps).toBe(8);
    writeFileSync(config, text.replace("kind: unet", "kind: distill"));
    expect(await messageOf(RunFolder.open(folder.path, { isExact: true }))).toMatch(
      /a new run with it: koala distill config\.yaml --out NEW\.$/,
    );
    writeFileSync(config, text.replace("steps: 9", "stepz: 9"));
    expect(await messageOf(RunFolder.open(folder.path, { isExact: false }))).toBe(
      `${config}, stepz: expected a field of a run of kind unet, got an unknown name [E_CONFIG]\nDid you mean steps?`,
    );
    writeFileSync(config, text);
    const info = join(folder.path, "run.json");
    const json = JSON.parse(readFileSync(info, "utf8"));
    writeFileSync(info, JSON.stringify({ ...json, version: "0.0.1" }));
    expect(await messageOf(RunFolder.open(folder.path, { isExact: true }))).toBe(
      `${folder.path}: expected a run of koala ${packageVersion()}, which is what runs here, got one of 0.0.1 [E_CONFIG]\nAnother version may compute other numbers: go on with the one that began the run.`,
    );
    writeFileSync(info, JSON.stringify({ ...json, format: 7 }));
    expect(await messageOf(RunFolder.open(folder.path, { isExact: false }))).toBe(
      `${folder.path}: expected a run folder of format 1, got format 7 [E_CONFIG]`,
    );
    rmSync(info);
    expect(await messageOf(RunFolder.open(folder.path, { isExact: false }))).toBe(
      `${folder.path}: expected the folder of a run, got no run.json [E_FILE]`,
    );
  });

  it("gets another end, also where a kill falls between both of its files", async () => {
    const folder = await RunFolder.create(join(home, "a"), run);
    const config = join(folder.path, "config.yaml");
    const before = readFileSync(config, "utf8");
    expect((await folder.withSteps(12)).run.steps).toBe(12);
    expect((await RunFolder.open(folder.path, { isExact: true })).run.steps).toBe(12);
    writeFileSync(config, before);
    expect((await RunFolder.open(folder.path, { isExact: true })).run.steps).toBe(9);
  });

  it("keeps the newest checkpoints, and the older one where a write fails", async () => {
    const folder = await RunFolder.create(join(home, "a"), run);
    for (const step of [2, 4, 10]) await folder.checkpoint(stateOf(step));
    expect((await folder.checkpoints()).map(({ step }) => step)).toEqual([10, 4]);
    const full = {
      ...stateOf(12),
      tensors: {
        // a disk that is full after the header
        *[Symbol.iterator]() {
          yield ["weights/w", float32([1], [0])];
        },
        get() {
          throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
        },
      } as unknown as TrainingState["tensors"],
    };
    const path = join(folder.path, "checkpoints/step-00000012.safetensors");
    const older = (step: number): Buffer =>
      readFileSync(join(folder.path, `checkpoints/step-${`${step}`.padStart(8, "0")}.safetensors`));
    const before = [older(4), older(10)];
    expect(await messageOf(folder.checkpoint(full))).toBe(
      `${path}: expected room on the disk, got a full disk [E_DISK]\nFree some space, or write somewhere else.`,
    );
    expect(readdirSync(join(folder.path, "checkpoints")).sort()).toEqual([
      "step-00000004.safetensors",
      "step-00000010.safetensors",
    ]);
    expect([older(4), older(10)]).toEqual(before);
    const files = await openFolder(folder.path);
    for (const { step, path } of await folder.checkpoints()) {
      const { info, store } = await openState(files, path);
      expect(info.step).toBe(step);
      expect((await store.read("weights/w")).data).toEqual(Float32Array.of(step));
    }
  });

  it("forgets what came after its last checkpoint, and half a line", async () => {
    const folder = await RunFolder.create(join(home, "a"), run);
    for (const step of [1, 2, 3]) await folder.log(record(step));
    writeFileSync(join(folder.path, "log.jsonl"), '{"step":4,"lo', { flag: "a" });
    writeFileSync(join(folder.path, "checkpoints/.step-3.tmp"), "");
    await folder.rewind(2);
    expect((await folder.records()).map(({ step }) => step)).toEqual([1, 2]);
    expect(readdirSync(join(folder.path, "checkpoints"))).toEqual([]);
    await folder.log(record(3));
    expect(await folder.records()).toHaveLength(3);
  });

  it("keeps what was measured after a step with the step", async () => {
    const folder = await RunFolder.create(join(home, "a"), run);
    for (const step of [1, 2]) await folder.log(record(step));
    expect(await folder.isSampled(2)).toBe(false);
    await folder.log({ step: 2, measures: { psnr: 30 } });
    const measured = [record(1), { ...record(2), measures: { psnr: 30 } }];
    expect(await folder.records()).toEqual(measured);
    await folder.rewind(2);
    expect(await folder.records()).toEqual(measured);
    expect([await folder.isSampled(1), await folder.isSampled(2)]).toEqual([false, true]);
    writeFileSync(folder.samplePath(1), "png");
    expect(await folder.isSampled(1)).toBe(true);
  });

  it("can be taken away", async () => {
    const folder = await RunFolder.create(join(home, "a"), run);
    await folder.discard();
    expect(readdirSync(home)).toEqual([]);
  });
});

describe("advice after numbers that went wrong", () => {
  it("is a new run, which may begin with the last checkpoint where there is one past the warm-up", async () => {
    const folder = await RunFolder.create(join(home, "a"), { ...run, warmup: 3 });
    expect(await adviceAfter(folder)).toBe(null);
    await folder.log(record(1));
    const { path } = folder;
    const again = `koala resume ${path} would meet the same numbers. A new run: koala train ${path}/config.yaml --rate LOWER --out NEW`;
    expect(await adviceAfter(folder)).toBe(again);
    await folder.checkpoint(stateOf(2));
    expect(await adviceAfter(folder)).toBe(again);
    await folder.checkpoint(stateOf(4));
    expect(await adviceAfter(folder)).toBe(
      `${again}\nOne that begins with what was learned until step 4: koala resume ${path} --steps 4, which writes ${path}/model; then koala train ${path}/config.yaml --model ${path}/model --rate LOWER --steps 9 --out NEW`,
    );
  });

  it("is of the command that made the run, and without fields that would begin it otherwise", async () => {
    const begun = parseRun({ kind: "distill", teacher: "t", student: "s", data: ["d"] });
    const student = await RunFolder.create(join(home, "s"), begun);
    await student.checkpoint(stateOf(10_000));
    expect(await adviceAfter(student)).toContain(
      `then koala distill ${student.path}/config.yaml --student ${student.modelPath} --rate LOWER --steps ${begun.steps} --out NEW`,
    );
    const other = await RunFolder.create(join(home, "o"), { ...run, warmup: 0, fresh: true, unet: "u.json" });
    await other.checkpoint(stateOf(4));
    expect(await adviceAfter(other)).toMatch(
      / --steps 9 --out NEW, COPY being .+\/o\/config\.yaml without unet and fresh$/,
    );
  });
});

describe("a configuration's file", () => {
  const file = (text: string): string => {
    const path = join(home, "run.yaml");
    writeFileSync(path, text);
    return path;
  };

  it("is YAML", async () => {
    expect(await readConfigFile(file("steps: 3\ndata: [a, b]\n"))).toEqual({ steps: 3, data: ["a", "b"] });
  });

  it("is refused where it is none", async () => {
    const path = file("- 1\n");
    expect(await messageOf(readConfigFile(path))).toBe(
      `${path}: expected fields of a run, such as steps: 1000, got something else [E_CONFIG]`,
    );
    expect(await messageOf(readConfigFile(file("")))).toBe(
      `${path}: expected fields of a run, such as steps: 1000, got nothing [E_CONFIG]`,
    );
    expect(await messageOf(readConfigFile(file("a: [")))).toMatch(
      /run\.yaml: expected YAML, got .+ \[E_CONFIG\]$/,
    );
    const none = join(home, "none.yaml");
    expect(await messageOf(readConfigFile(none))).toBe(
      `${none}: expected a YAML file that can be read, got no such file [E_FILE]`,
    );
  });
});

describe("curves", () => {
  it("are the loss, its terms where there are several, and what moved the weights", () => {
    const names = (records: StepRecord[]) => curvesOf(records).map(({ name }) => name);
    expect(names([record(1)])).toEqual(["loss", "gradient norm", "learning rate"]);
    expect(names([record(1, { terms: { task: 1, output: 2 } })])).toEqual([
      ...["loss", "task", "output", "gradient norm", "learning rate"],
    ]);
    const measured = curvesOf([record(1), record(2, { measures: { psnr: 30 } })]);
    expect(measured[1]).toEqual({ name: "psnr", points: [{ step: 2, value: 30 }] });
  });

  it("are thinned to means of equal stretches", () => {
    const points = [1, 2, 3, 4, 5, 6].map((step) => ({ step, value: step }));
    expect(thinned({ name: "x", points }, 3).points).toEqual([
      { step: 2, value: 1.5 },
      { step: 4, value: 3.5 },
      { step: 6, value: 5.5 },
    ]);
    expect(thinned({ name: "x", points }, 9).points).toEqual(points);
  });

  it("are told by their ends", () => {
    const points = Array.from({ length: 20 }, (_, i) => ({ step: i + 1, value: i }));
    expect(factsOf({ name: "x", points })).toEqual({ name: "x", first: 0.5, last: 18.5 });
  });
});

describe("a report", () => {
  it("is one page that needs no other, with every part of the run", { timeout: 60_000 }, async () => {
    const folder = await RunFolder.create(join(home, "a"), run);
    for (let step = 1; step <= 100; step++) await folder.log(record(step));
    writeFileSync(folder.samplePath(50), "png");
    const html = readFileSync(await writeReport(folder), "utf8");
    expect(html).toContain('src="data:image/png;base64,cG5n"');
    expect(html).toContain("after step 50");
    expect(html).toContain("&lt;d&gt;"); // what the user wrote is text
    expect(html).toContain("100 of 9 steps, 4.0 pictures/s, 3 min 20 s");
    expect(html).not.toMatch(/(src|href)="https?:/);
    const svg = readFileSync(join(folder.path, "loss.svg"), "utf8");
    expect(html).toContain(svg);
    for (const name of ["loss", "gradient norm", "learning rate"]) expect(svg).toContain(`>${name}<`);
    expect(svg.match(/class="mark-line/g)?.length).toBeGreaterThanOrEqual(6); // each number and its trend
  });

  it("of a run without a step has no curves", async () => {
    const folder = await RunFolder.create(join(home, "a"), run);
    expect(readFileSync(await writeReport(folder), "utf8")).toContain("unet: 0 of 9 steps");
  });

  it("says numbers briefly", () => {
    expect([0, 0.5, 1e-5, 1234567].map(digits)).toEqual(["0.000", "0.5000", "1.00e-5", "1.23e+6"]);
    expect(standing([record(3)], 9)).toBe("3 of 9 steps, 4.0 pictures/s, 2.0 s");
  });
});

describe("samples", () => {
  it("show the prompts, or captions from all over the data", () => {
    const samples = ["a", "b", "c", "d"].map((caption) => ({ captions: [caption] })) as never;
    expect(samplePrompts({ ...run, sampleCount: 2 }, samples)).toEqual(["a", "c"]);
    expect(samplePrompts({ ...run, sampleCount: 9 }, samples)).toEqual(["a", "b", "c", "d"]);
    expect(samplePrompts({ ...run, sampleCount: 3, prompts: ["x", "y"] }, samples)).toEqual(["x", "y", "x"]);
  });

  it("fill whole rows where they can", () => {
    expect([1, 4, 8, 9, 12, 16].map(columnsOf)).toEqual([1, 2, 4, 3, 4, 4]);
  });
});
