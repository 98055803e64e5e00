/** Studies on a bench that only remembers: what is done, in which order, how it goes on, what a budget leaves, what the page says. */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { inEmptyFolders } from "../../../test/fake-world.ts";
import { goldenJson } from "../../../test/golden.ts";
import { KoalaError } from "../../core/errors.ts";
import { encodePicture } from "../image-file.ts";
import { someArms } from "./arms.ts";
import type { Bench } from "./bench.ts";
import { type LabOptions, type Outcome, runStudy } from "./lab.ts";
import { drawName, estimate, fitBudget, planOf, type Settings } from "./plan.ts";
import { type Drawn, type Result, scoreOf, seedMean, verdictOf } from "./scores.ts";
import { studies, studyOf } from "./studies.ts";
import type { TeacherFacts } from "./study.ts";

inEmptyFolders();

const facts: TeacherFacts = {
  kind: "unet",
  config: goldenJson("families/sdxl/unet/config.json"),
  stages: ["DW-2", "DW-3", "Mid", "UP-1", "UP-2"],
  depths: [2, 10],
  ...{ hasMid: true, isXL: true, guidance: 5 },
};

const settings: Settings = {
  ...{ study: "kd-layers", teacher: "T", data: "D", split: "train", scorer: "S", captions: ["text"] },
  ...{ group: "group", balance: null, seeds: 3, budget: null, steps: 100, batch: 4, rate: 5e-4, count: 40 },
  optimizer: "adamw",
  ...{ ways: 8, isFull: false, arms: null, engine: "ort", precision: "f32", threads: 1 },
};

/** What was asked of the bench, in order. */
let calls: string[] = [];
/** Called before each call: may throw. */
let before: (call: string) => void = () => {};

beforeEach(() => {
  calls = [];
  before = () => {};
});

function called(call: string): void {
  before(call);
  calls.push(call);
}

/** Draws flat pictures; an arm's score is how far its name is down the alphabet, and a little of its seed. */
function fakeBench(out: string): Bench {
  return {
    async variant({ name }, folder) {
      called(`variant ${name}`);
      mkdirSync(folder, { recursive: true });
      return { pictures: 12, averageResolution: 32, meanWords: 2 };
    },
    async cut(_, folder) {
      called(`cut ${folder}`);
      mkdirSync(folder, { recursive: true });
    },
    async train({ steps, seed }, folder) {
      called(`train ${folder} ${steps} ${seed}`);
      mkdirSync(join(folder, "checkpoints"), { recursive: true });
      return { steps: Number(steps), seconds: 60, terms: { task: 1, output: 0.25 } };
    },
    async judge(model, draw, folder, teacher): Promise<Drawn> {
      called(`judge ${model} ${drawName(draw)}`);
      const file = join(folder, "0.png");
      mkdirSync(folder, { recursive: true });
      writeFileSync(
        file,
        await encodePicture({ width: 4, height: 4, data: new Uint8Array(48).fill(90) }, "png"),
      );
      const seed = Number(/seed-(\d)/.exec(model)?.[1] ?? 0);
      const rPrecision = model.includes("none") ? 0.5 : 0.6 + 0.01 * seed;
      return {
        ...{ draw: drawName(draw), steps: draw.steps ?? 20, seconds: 0.5, peakBytes: 2e8 },
        scores: {
          ...{ rPrecision, realRPrecision: 0.8, clipScore: 0.7, frechet: 3 },
          distance: teacher === null ? 0 : 12.5,
        },
        ...{ files: [file.slice(out.length + 1)], prompts: ["a <red> apple"] },
      };
    },
    parameters: async () => 1234,
    async timeRun() {
      called("time run");
      return { step: 0.5, around: 10 };
    },
    async timePicture() {
      called("time picture");
      return { step: 0.01, around: 0.1, usualSteps: 20 };
    },
  };
}

const lines: string[] = [];
function study(
  name: string,
  more: Partial<Settings> = {},
  o: Partial<LabOptions> = {},
): Promise<Outcome | null> {
  lines.length = 0;
  return runStudy({
    ...{ study: studyOf(name), facts, settings: { ...settings, study: name, ...more }, out: "out" },
    ...{ version: "9.9.9", command: `koala lab ${name} --out out`, isPlanOnly: false },
    bench: () => fakeBench("out"),
    note: (line) => lines.push(line),
    ...o,
  });
}
const failure = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
  } catch (error) {
    return (error as Error).message;
  }
  return "nothing";
};

describe("a study", () => {
  it("says what it costs, then makes models, the teacher's pictures, and all arms seed by seed", async () => {
    await study("kd-layers");
    const kinds = calls.map((call) => call.split(" ")[0]);
    expect(kinds.slice(0, 6)).toEqual(["cut", "cut", "cut", "time", "time", "time"]);
    expect(calls[5]).toBe("time picture");
    expect(calls.slice(6, 9)).toEqual([
      "judge T 12 steps",
      "train out/arms/none/seed-0/run 100 0",
      "judge out/arms/none/seed-0/run/model 12 steps",
    ]);
    const trained = calls
      .filter((call) => call.startsWith("train"))
      .map((call) => call.split("/").slice(2, 4).join());
    const arms = ["none", "first", "last", "interleaved"];
    expect(trained).toEqual([0, 1, 2].flatMap((seed) => arms.map((arm) => `${arm},seed-${seed}`)));
    expect(lines[1]).toBe(
      "4 arms, 3 seeds, 100 steps a run, 40 captions an arm: 12 runs, 12 min 0 s of training; 520 pictures, 1 min 54 s of drawing; 13 min 54 s in all, by a short timing on this machine",
    );
    expect(existsSync("out/arms/none/seed-0/run/checkpoints")).toBe(false);
  });

  it("that is killed goes on with the arm at hand, and repeats nothing", async () => {
    const kill = "train out/arms/last/seed-1/run";
    before = (call) => {
      if (call.startsWith(kill)) throw new Error("killed");
    };
    expect(await failure(study("kd-layers"))).toBe("killed");
    expect(existsSync("out/report.html")).toBe(true); // of the first seed
    expect(readFileSync("out/report.html", "utf8")).toContain("So far 1 of 3 seeds are done.");
    before = (call) => {
      if (call === "judge out/arms/last/seed-1/run/model 12 steps") throw new Error("killed again");
    };
    const first = calls;
    calls = [];
    expect(await failure(study("kd-layers"))).toBe("killed again");
    expect(calls).toEqual([`${kill} 100 1`]);
    const second = calls;
    [calls, before] = [[], () => {}];
    await study("kd-layers");
    expect(calls[0]).toBe("judge out/arms/last/seed-1/run/model 12 steps");
    const all = [...first, ...second, ...calls];
    expect(new Set(all.filter((call) => !call.startsWith("time"))).size).toBe(
      all.filter((call) => !call.startsWith("time")).length,
    );
    expect(all.filter((call) => call.startsWith("train")).length).toBe(12);
    expect(lines[0]).toBe("goes on with the study that is there");
  });

  it("in a folder of another study, or of other things, is refused", async () => {
    await study("kd-layers", {}, { isPlanOnly: true });
    expect(calls.some((call) => call.startsWith("train"))).toBe(false);
    expect(await failure(study("kd-layers", { seeds: 2 }))).toBe(
      "out/study.json (seeds): expected 3, with which this study was begun, got 2 [E_OUTPUT]\nGo on with the same, or choose another --out.",
    );
    expect(await failure(study("kd-layers", {}, { version: "10.0.0" }))).toBe(
      'out/study.json (version): expected "9.9.9", with which this study was begun, got "10.0.0" [E_OUTPUT]\nGo on with the same, or choose another --out.',
    );
    writeFileSync("out/study.json", "half");
    expect(await failure(study("kd-layers"))).toBe(
      "out/study.json: expected what koala lab wrote there, got a file that is none [E_OUTPUT]\nRemove the folder, or choose another --out.",
    );
    rmSync("out", { recursive: true });
    mkdirSync("out");
    writeFileSync("out/mine.txt", "");
    expect(await failure(study("kd-layers"))).toBe(
      "out: expected an empty folder, none yet, or one of this study, got 1 files, such as mine.txt [E_OUTPUT]",
    );
  });

  it("has a page with its verdict, scores, commands and what the paper found", async () => {
    const outcome = await study("kd-layers");
    const page = readFileSync(outcome?.page ?? "", "utf8");
    expect(page).toContain(
      "The arm without distillation (none) reaches 63 % of the real pictures&#39; R-precision: the arms can be compared.".replace(
        "&#39;",
        "'",
      ),
    );
    expect(page).toContain("There: the first layers of each stage matter most.");
    expect(page).toContain("The numbers of that table or figure could not be read");
    expect(page).toContain("0.610 ± 0.025"); // t of 3 seeds: 4.303 · 0.01 / √3
    expect(page).toContain("a &lt;red&gt; apple");
    expect(page).toContain(
      "koala cut out/made/student-last --teacher T --student koala-1b --keep last --depth 6",
    );
    expect(page).toContain(
      "koala distill --method sa --data D/train --cache out/cache --captions text --steps 100 --batch 4 --rate 0.0005",
    );
    expect(page).not.toMatch(/<(script|link)|src="(?!data:)/);
    const numbers = JSON.parse(readFileSync(outcome?.numbers ?? "", "utf8"));
    expect(numbers.arms.map(({ arm }: { arm: string }) => arm)).toEqual([
      "none",
      "first",
      "last",
      "interleaved",
    ]);
    expect(numbers.results).toHaveLength(12);
    expect(outcome?.rows[0]).toEqual([
      ...["layers", "steps", "R-precision", "share of the real", "CLIPScore", "Fréchet distance"],
      "to the teacher's pictures",
    ]);
  });

  it("counts an arm whose numbers ran away as that, and goes on with the others", async () => {
    const sentence = "step 7, task: expected finite values, got NaN";
    before = (call) => {
      if (call.startsWith("train out/arms/last/seed-1"))
        throw new KoalaError("E_NAN", { where: "step 7, task", expected: "finite values", got: "NaN" });
    };
    const outcome = await study("kd-layers");
    expect(readFileSync(outcome?.page ?? "", "utf8")).toContain(`Not counted: last, seed 1: ${sentence}`);
    const { arms, results } = JSON.parse(readFileSync(outcome?.numbers ?? "", "utf8"));
    expect(results).toHaveLength(12);
    const last = arms.find(({ arm }: { arm: string }) => arm === "last");
    expect(last.scores.rPrecision.values).toEqual([0.6, 0.62]);
  });

  it("says that it says nothing when the arm without distillation draws too little", () => {
    const drawn = (rPrecision: number): Drawn => ({
      ...{ draw: "as the model says", steps: 20, seconds: 1, peakBytes: 1, files: [], prompts: [] },
      scores: { rPrecision, realRPrecision: 0.8, clipScore: null, frechet: null, distance: null },
    });
    const result = (rPrecision: number): Result => ({
      ...{ arm: "none", seed: 0, trained: null, parameters: 1, draws: [drawn(rPrecision)] },
    });
    expect(verdictOf([result(0.3), result(0.4)], "none").sentence).toBe(
      "The arm without distillation (none) reaches 44 % of the real pictures' R-precision, less than half: this study says nothing about its question. A longer one, or a teacher that draws better, might.",
    );
    expect(verdictOf([], "none").says).toBe(false);
    expect(scoreOf([result(0.3), result(0.5)], "as the model says", "clipScore")).toBe(null);
  });
});

describe("a budget", () => {
  const costs = {
    runs: {
      '["distill",null,["koala-1b",6],false]': { step: 1, around: 10 },
      '["distill","@teacher",["koala-1b",6],true]': { step: 1, around: 10 },
    },
    ...{ picture: { step: 0.01, around: 0.1 }, usualSteps: 20 },
  };
  const design = studyOf("kd-layers").design(facts, { isFull: false });
  const within = (budget: number | null, more: Partial<Settings> = {}) =>
    fitBudget(design, { ...settings, budget, ...more }, costs, "out");

  it("that is enough changes nothing", () => {
    expect(within(null).length).toEqual({ steps: 100, count: 40 });
    expect(within(3600).length).toEqual({ steps: 100, count: 40 });
    expect(within(3600).whole.total).toBeCloseTo(12 * 110 + 13 * 40 * 0.22, 6);
  });
  it("that is less takes steps, and captions where drawing is too much of it; the estimate then fits", () => {
    const { length, estimate: after } = within(600);
    expect(length).toEqual({ steps: 30, count: 40 });
    expect(after.total).toBeLessThanOrEqual(600);
    const wordy = within(900, { count: 400 });
    expect(wordy.length.count).toBeLessThan(400);
    expect(wordy.length.count).toBeGreaterThanOrEqual(32);
    expect(wordy.estimate.total).toBeLessThanOrEqual(900);
    expect(wordy.estimate.total).toBeGreaterThan(880);
  });
  it("that is too little is refused with what would do", async () => {
    expect(await failure((async () => within(60))())).toBe(
      "--budget: expected at least 6 min for 12 runs on this machine, got 60 s [E_FLAG]\nFewer --seeds, a smaller --batch or a larger --budget would do.",
    );
  });
  it("that leaves the fixed time of the runs, the least steps and the least captions does", () => {
    const slow = Object.fromEntries(
      Object.entries(costs.runs).map(([key, cost]) => [key, { ...cost, around: 100 }]),
    );
    const least = 12 * (100 + 10 * 1) + 13 * 32 * 0.22;
    for (const budget of [least + 1e-6, least + 60]) {
      const { length, estimate: after } = fitBudget(
        design,
        { ...settings, count: 4000, budget },
        { ...costs, runs: slow },
        "out",
      );
      expect(length.steps).toBeGreaterThanOrEqual(10);
      expect(length.count).toBeGreaterThanOrEqual(32);
      expect(after.total).toBeLessThanOrEqual(budget);
    }
  });
  it("of what the refusal names is not refused", async () => {
    for (const seeds of [1, 3, 4, 5, 40]) {
      const refusal = await failure((async () => within(1, { seeds }))());
      const [, number, unit] = /at least ([\d.]+) (s|min|h) /.exec(refusal) ?? [];
      const named = Number(number) * ({ s: 1, min: 60, h: 3600 }[unit ?? ""] ?? Number.NaN);
      expect(within(named, { seeds }).length.steps).toBeGreaterThanOrEqual(10);
    }
  });
  it("is told on the page", async () => {
    await study("kd-layers", { budget: 480 });
    expect(lines.some((line) => /^Shortened to the budget of 8 min 0 s: \d\d of 100 steps/.test(line))).toBe(
      true,
    );
    expect(readFileSync("out/report.html", "utf8")).toContain("Shortened to the budget of 8 min 0 s");
  });
});

describe("every study", () => {
  const transformer: TeacherFacts = {
    ...{
      kind: "transformer",
      config: null,
      stages: [],
      depths: [28],
      hasMid: false,
      isXL: false,
      guidance: 4.5,
    },
  };
  it.each(
    studies.map((one) => [one.name, one] as const),
  )("%s rests on what it makes, and has its baseline", (_, one) => {
    const design = one.design(one.needs === "unet" ? facts : transformer, { isFull: true });
    const known = new Set([
      "@teacher",
      ...[...design.made, ...design.variants].map(({ name }) => `@${name}`),
    ]);
    const refs = (value: unknown): string[] =>
      typeof value === "string" && value.startsWith("@")
        ? [value]
        : typeof value === "object" && value !== null
          ? Object.values(value).flatMap(refs)
          : [];
    expect(refs([design.arms, design.made]).filter((ref) => !known.has(ref))).toEqual([]);
    expect(design.arms.map(({ name }) => name)).toContain(design.baseline);
    const names = design.arms.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const columns = design.arms.map(({ factors }) => Object.keys(factors).join());
    expect(new Set(columns).size).toBe(1);
    const plan = planOf(design, { ...settings, study: one.name }, settings, "out");
    const zero = { runs: {}, picture: { step: 0, around: 0 }, usualSteps: 20 };
    expect(estimate(plan, zero).runs).toBe(
      design.made.filter(({ how }) => how.kind === "run").length +
        3 * design.arms.filter(({ of }) => "run" in of).length,
    );
  });

  it.each(
    studies.map((one) => [one.name, one] as const),
  )("%s asked of one arm has its baseline too, and makes only what they rest on", (_, one) => {
    const whole = one.design(one.needs === "unet" ? facts : transformer, { isFull: false });
    const last = whole.arms.at(-1)?.name ?? "";
    const some = someArms(whole, [last]);
    expect(some.arms.map(({ name }) => name)).toEqual([...new Set([whole.baseline, last])]);
    const said = JSON.stringify([some.arms, some.made]);
    for (const { name } of [...whole.made, ...whole.variants])
      expect([...some.made, ...some.variants].some((one) => one.name === name)).toBe(
        said.includes(`"@${name}"`),
      );
    expect(some.remarks.at(-1)).toMatch(/^Not asked here, by --arms: /);
    const all = whole.arms.map(({ name }) => name);
    expect(someArms(whole, all)).toBe(whole);
  });

  it("an arm that there is not is refused before anything is made", async () => {
    expect(await failure(study("kd-layers", { arms: ["frist"] }))).toBe(
      "--arms: expected names among none, first, last, interleaved, got frist [E_FLAG]",
    );
    expect(calls).toEqual([]);
  });

  it("of a transformer's features cuts blocks that have something to learn from the first step", () => {
    const { made, remarks } = studyOf("dit-kd").design(transformer, { isFull: false });
    expect(made.map(({ how }) => how)).toEqual([{ kind: "cut", rule: "pixart-14", keep: "interleaved" }]);
    expect(remarks).toEqual([
      "The student has 14 of the teacher's 28 blocks, spread over its depth. The first ones would be copies that read what the teacher's read: SA, CA and FFN would begin at 0, and only hold them in place.",
    ]);
  });

  it("names the optimizer where it is not the usual one", () => {
    const design = studyOf("kd-layers").design(facts, { isFull: false });
    const optimizers = (more: Partial<Settings>) =>
      planOf(design, { ...settings, ...more }, settings, "out").trials.map(
        ({ training }) => training?.fields.optimizer,
      );
    expect(new Set(optimizers({}))).toEqual(new Set([undefined]));
    expect(new Set(optimizers({ optimizer: "muon" }))).toEqual(new Set(["muon"]));
  });

  it.each(
    [...studies.filter(({ needs }) => needs === "unet")].map(({ name }) => name),
  )("%s runs to its page", async (name) => {
    const outcome = await study(name, { seeds: 1 });
    expect(readFileSync(outcome?.page ?? "", "utf8")).toContain("<h2>Pictures</h2>");
  });

  it("interleaved layers that are the first ones are one arm, and the page says so", () => {
    const shallow = { ...facts, depths: [1, 2] };
    const { arms, remarks } = studyOf("kd-layers").design(shallow, { isFull: false });
    expect(arms.map(({ name }) => name)).toEqual(["none", "first", "last"]);
    expect(remarks).toEqual([
      "interleaved: left out, since of this teacher's 2 blocks a layer it keeps the same 1 as an arm that is there.",
    ]);
  });
});

describe("a mean over seeds", () => {
  it("has Student's interval", () => {
    const found = seedMean([1, 2, 3, null, Number.NaN]);
    expect(found?.value).toBe(2);
    expect((found?.high ?? 0) - 2).toBeCloseTo(4.303 / Math.sqrt(3), 6); // R: qt(.975, 2) * sd(1:3) / sqrt(3)
    expect(seedMean([5])).toEqual({ value: 5, values: [5] });
    expect(seedMean([null])).toBe(null);
  });
});
