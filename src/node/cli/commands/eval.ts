/** `koala eval`: captions drawn by models, scored, and shown side by side. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { KoalaError } from "../../../core/errors.ts";
import { nearest } from "../../../core/nearest.ts";
import { type MetricName, metricNames } from "../../../eval/measure.ts";
import { parseRequest } from "../../../pipeline/request.ts";
import { host } from "../../../runtime/host.ts";
import { fileOf } from "../../eval/draw.ts";
import { type Evaluation, type EvaluationOptions, evaluate } from "../../eval/evaluate.ts";
import { remarksOf, tableOf } from "../../eval/lines.ts";
import { partOf } from "../../eval/pictures.ts";
import { reportPage } from "../../eval/report.ts";
import { writeAtomically } from "../../files.ts";
import { addRequestFlags, flagOf, requestFromFlags, threadsFrom } from "../flags.ts";
import { interruptible } from "../interruptible.ts";
import { numberOf, real, whole } from "../numbers.ts";
import { packageVersion, usualModel, usualModelName } from "../package.ts";
import { type Progress, progressFor } from "../progress.ts";
import { printable, table } from "../tables.ts";
import type { World } from "../world.ts";

/** What may be changed about how pictures are drawn: fields of a request. */
const drawing = [
  "steps",
  "guidance",
  "guidanceRescale",
  "guidanceFrom",
  "guidanceUntil",
  "negativePrompt",
  "clipSkip",
  "width",
  "height",
  "scheduler",
  "spacing",
  "precision",
];

/** Every pass over the data needs no more than this many captions for intervals of a few hundredths. */
const defaults = { count: 256, ways: 32, near: 0.95, seed: 0, group: "group" } as const;

interface Options {
  readonly data?: string;
  readonly split?: string;
  readonly train?: string;
  readonly against?: string;
  readonly scorer?: string;
  readonly metrics?: string;
  readonly count?: string;
  readonly ways?: string;
  readonly near?: string;
  readonly seed?: string;
  readonly group?: string;
  readonly captions?: string;
  readonly out?: string;
  readonly engine?: string;
  readonly threads?: string;
  readonly offline?: true;
  readonly json?: true;
  readonly quiet?: true;
}

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument(
      "[MODEL...]",
      `model folders, checkpoint files or hub ids, a column each (default ${usualModelName})`,
    )
    .option("--data <PATH>", "captions with their real pictures: a folder, parquet or tar files")
    .option("--split <NAMES>", "folders within --data, such as train,held-out (default: all of --data)")
    .option(
      "--train <PATH>",
      "the training pictures: where nearest ones are looked for (default: train within --data)",
    )
    .option(
      "--against <PATH>",
      "what frechet and kid measure against: real, those of --data, or a path (default real)",
    )
    .option("--scorer <DIR|HUB_ID>", "a CLIPModel of transformers to judge by; not one that the models read")
    .option("--metrics <LIST>", `of ${metricNames.join(",")} (default: all but hps and psnr)`)
    .option("--count <N>", `captions to draw of each split (default ${defaults.count})`)
    .option("--ways <K>", `captions that R-precision chooses from (default ${defaults.ways})`)
    .option(
      "--near <COSINE>",
      `above which a picture counts as near a training picture (default ${defaults.near})`,
    )
    .option("--seed <N>", `decides captions, noise and draws (default ${defaults.seed})`)
    .option("--group <FIELD>", `field of the data that holds the category (default ${defaults.group})`)
    .option("--captions <FIELD>", "field of the data that holds the caption (default: the usual ones)")
    .option("--out <DIR>", "folder for pictures, numbers and the report; the same command goes on with it");
  addRequestFlags(command, drawing);
  command
    .option("--engine <NAME>", "what computes; koala engines lists them (default: the fastest that is here)")
    .option("--threads <N>", "threads that compute (default: one a core)")
    .option("--offline", "use only what is on this machine")
    .option("--json", "print the numbers as one JSON object")
    .option("--quiet", "say nothing but errors and the table")
    .option("--verbose", "say where an error comes from")
    .action(async (models: string[], o: Options) => finish(await run(models, o, world)));
}

async function run(models: readonly string[], o: Options, world: World): Promise<number> {
  const threads = threadsFrom(o.threads);
  const numbers = {
    count: numberOf("--count", o.count, defaults.count, whole(1, 1e6)),
    ways: numberOf("--ways", o.ways, defaults.ways, whole(2, 1e4)),
    near: numberOf("--near", o.near, defaults.near, real(-1, 1)),
    seed: numberOf("--seed", o.seed, defaults.seed, whole(0, 2 ** 32 - 1)),
  };
  const metrics = metricsOf(o.metrics);
  const request = requestFromFlags({ ...o }, drawing);
  const { width, height, precision } = parseRequest({ prompt: "", ...request }, flagOf);
  const size = width === undefined || height === undefined ? {} : { size: { width, height } };
  const data = needed("--data", o.data, "captions with pictures to evaluate on");
  const out = needed("--out", o.out, "a folder for pictures, numbers and the report");
  const splits = o.split === undefined ? [""] : o.split.split(",").map((name) => name.trim());
  const scored = metrics.filter((metric) => metric !== "psnr");
  const where =
    scored.length === 0 ? undefined : needed("--scorer", o.scorer, `a CLIP to judge ${scored.join(", ")} by`);

  const progress = progressFor(world.stderr, o.quiet === true);
  return interruptible(
    world,
    progress,
    "Stopped; the pictures that are drawn are kept, and the same command goes on.",
    async (signal) => {
      const hosted = { isOffline: o.offline === true, signal };
      const opening = {
        ...hosted,
        onProgress: (file: string, done: number, total: number) =>
          progress.transfer("download", file, done, total),
      };
      const engine = await host.engine(o.engine ?? "auto");
      const options: EvaluationOptions = {
        ...{ models: models.length === 0 ? [usualModel] : models, data, out },
        ...{ splits, metrics, request, engine, signal, ...numbers, ...size },
        train: o.train ?? trainOf(data, splits),
        group: o.group ?? defaults.group,
        ...(o.against === undefined || o.against === "real" ? {} : { against: o.against }),
        ...(o.captions === undefined ? {} : { captions: [o.captions] }),
        ...(where === undefined ? {} : { scorer: await world.openModel(where, opening) }),
        ...(threads === undefined ? {} : { threads }),
      };
      const evaluation = await evaluate(options, {
        openModel: (location) => world.openModel(location, opening),
        load: (location) => {
          progress.stage("load", location);
          return world.load(location, {
            ...opening,
            ...(o.engine === undefined ? {} : { engine: o.engine }),
            ...(precision === undefined ? {} : { precision }), // by which auto chooses an engine
            ...(threads === undefined ? {} : { threads }),
          });
        },
        ...drawingProgress(progress),
        note: (line) => progress.note(line),
        version: packageVersion(),
      });
      progress.end();
      await tell(evaluation, options, o, world);
    },
  );
}

/** Where the training pictures are by custom: the folder `train` beside the split, else what is evaluated itself. */
function trainOf(data: string, splits: readonly string[]): string {
  const train = partOf(data, "train");
  if (splits.some((split) => split !== "") && existsSync(train)) return train;
  return partOf(data, splits[0] ?? "");
}

function drawingProgress(progress: Progress): {
  onStep(done: number, all: number): void;
  onWarning(message: string): void;
} {
  let beganMs = 0;
  let first = 0;
  const said = new Set<string>();
  return {
    onStep(done, all) {
      if (done <= 1 || beganMs === 0) [beganMs, first] = [performance.now(), done];
      const each = (performance.now() - beganMs) / 1000 / Math.max(1, done - first);
      progress.step(done, all, each * (all - done));
    },
    onWarning(message) {
      if (!said.has(message)) progress.warn(message);
      said.add(message);
    },
  };
}

function needed(flag: string, value: string | undefined, what: string): string {
  check(value !== undefined, "E_FLAG", () => ({
    where: flag,
    expected: what,
    got: "nothing",
    hint: "koala eval --help lists what it takes.",
  }));
  return value;
}

function metricsOf(text: string | undefined): MetricName[] {
  if (text === undefined) return metricNames.filter((name) => name !== "hps" && name !== "psnr");
  return text.split(",").map((part) => {
    const name = part.trim();
    const known = metricNames.find((metric) => metric === name);
    if (known !== undefined) return known;
    const near = nearest(name, metricNames)[0];
    throw new KoalaError("E_FLAG", {
      where: "--metrics",
      expected: `a list of ${metricNames.join(", ")}`,
      got: JSON.stringify(name),
      ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
    });
  });
}

/** Writes numbers.json and report.html, and prints the table. */
async function tell(e: Evaluation, o: EvaluationOptions, said: Options, world: World): Promise<void> {
  const settings = {
    version: packageVersion(),
    ...{ data: o.data, train: o.train, against: o.against ?? "real", scorer: e.scorer, metrics: o.metrics },
    ...{ count: o.count, ways: o.ways, near: o.near, seed: o.seed, request: o.request },
  };
  const results = e.results.map(({ model, split, measured, tasks, details, folder }) => ({
    model,
    split,
    ...measured,
    pictures: tasks.map((task, i) => ({
      file: folder === null ? null : fileOf(folder, task),
      ...task,
      cosine: details.cosines[i] ?? null,
      isFound: details.isFound[i] ?? null,
      nearest: e.train.entries[details.neighbours[i]?.number ?? -1]?.id ?? null,
      nearestCosine: details.neighbours[i]?.cosine ?? null,
    })),
  }));
  const report = join(o.out, "report.html");
  const numbers = { settings, results };
  await writeAtomically(join(o.out, "numbers.json"), `${JSON.stringify(numbers, null, 1)}\n`);
  await writeAtomically(report, await reportPage(e, settings));
  if (said.json) {
    world.stdout.write(`${JSON.stringify({ ...numbers, report })}\n`);
    return;
  }
  for (const { pictures, chosen } of e.splits) {
    const here = e.results.filter(({ split }) => split === pictures.name);
    const rows = tableOf(here, `${pictures.name}, ${chosen.length} captions`);
    const right = (rows[0] ?? []).map((_, i) => i).slice(1);
    world.stdout.write(printable(`${table(rows, right)}\n`));
    for (const remark of said.quiet ? [] : remarksOf(here)) world.stdout.write(`${remark}\n`);
  }
  world.stdout.write(`${report}\n`);
}
