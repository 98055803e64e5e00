/** `koala bench quality`: what integers cost the pictures of a model, against its floats, of the same prompts and seeds. */

import { join } from "node:path";
import { check } from "../../core/assert.ts";
import { bootstrap, type Estimate, mean, meanEstimate } from "../../eval/chance.ts";
import { rowOf } from "../../eval/features.ts";
import { answers, questions } from "../../eval/r-precision.ts";
import { openScorer, type Scorer } from "../../eval/scorer.ts";
import { psnr } from "../../image/psnr.ts";
import { Pipeline } from "../../pipeline/pipeline.ts";
import { host } from "../../runtime/host.ts";
import { promptLines } from "../cli/prompt-file.ts";
import { contentHash } from "../data/hash.ts";
import { drawMissing, drawn, type Task } from "../eval/draw.ts";
import { modelFolder, shortNames } from "../eval/folder.ts";
import { featuresOf } from "../eval/pictures.ts";
import { svgOf } from "../page/vega.ts";
import type { Bench } from "./bench.ts";
import type { Table } from "./report.ts";
import { type Spread, spreadOf } from "./statistics.ts";

const colours = ["red", "blue", "green", "yellow", "purple", "orange", "black", "white"] as const;
const things = ["apple", "car", "house", "cat", "hat", "ball", "flower", "bird"] as const;

/** Where no file names others: 64 that any model has an idea of. */
export const usualPrompts: readonly string[] = colours.flatMap((colour) =>
  things.map((thing) => `a ${colour} ${thing}`),
);

/** Captions a question: the picture's own and 31 others, as `koala eval` asks. */
const mostWays = 32;

/** One model in integers, or the floats themselves. */
export interface QualityRow {
  readonly model: string;
  /** Against the picture in floats of the same prompt and seed, in dB; null for the floats themselves. */
  readonly psnr: Spread | null;
  readonly meanPsnr: number | null;
  readonly rPrecision: Estimate | null;
  /** What R-precision gained over the floats', question by question. */
  readonly gain: Estimate | null;
}

export interface Quality {
  readonly prompts: number;
  readonly ways: number;
  readonly scorer: string | null;
  readonly rows: readonly QualityRow[];
}

/** @throws KoalaError E_FLAG for a file that is not there or holds too few, or a count beyond them */
export async function promptsFrom(
  path: string | undefined,
  count: number | undefined,
): Promise<readonly string[]> {
  const all = path === undefined ? usualPrompts : await promptsIn(path);
  check(count === undefined || count <= all.length, "E_FLAG", () => ({
    where: "--count",
    expected: `at most ${all.length}, the prompts that there are`,
    got: String(count),
  }));
  return all.slice(0, count ?? usualPrompts.length);
}

async function promptsIn(path: string): Promise<readonly string[]> {
  const prompts = await promptLines(path, "--prompts");
  check(prompts.length >= 2, "E_FLAG", () => ({
    where: `--prompts ${path}`,
    expected: "at least 2 prompts, one a line",
    got: String(prompts.length),
  }));
  return prompts;
}

/** @throws KoalaError E_FLAG */
export function checkQualityModels(models: readonly string[]): void {
  check(models.length >= 2, "E_FLAG", () => ({
    where: "koala bench quality",
    expected: "quantized folders and then the model in floats",
    got: models.length === 0 ? "nothing" : models.join(" "),
    hint: "For example: koala bench quality emoji-int8 models/koala-emoji",
  }));
}

/** The models in the order given, the floats last. */
export async function measureQuality(b: Bench): Promise<Quality> {
  const { models } = b.o;
  const prompts = await promptsFrom(b.o.prompts, b.o.count);
  const ways = Math.min(mostWays, new Set(prompts).size);
  const tasks = prompts.map((prompt, number): Task => ({ number, prompt, seed: number }));
  const scorer = b.o.scorer === undefined ? null : await openOne(b.o.scorer, b);
  const folders: string[] = [];
  try {
    for (const [i, name] of shortNames(models).entries())
      folders.push(await draw(models[i] ?? "", name, tasks, b));
    b.stage("compares");
    const floats = folders.at(-1) ?? "";
    const judged = scorer === null ? [] : await judge(scorer, folders, tasks, ways);
    const rows: QualityRow[] = [];
    for (const [i, folder] of folders.entries()) {
      const values = folder === floats ? [] : await psnrsOf(folder, floats, tasks);
      const [own, base] = [judged[i], judged.at(-1)];
      rows.push({
        model: shortNames(models)[i] ?? "",
        psnr: spreadOf(values),
        meanPsnr: values.length === 0 ? null : mean(values),
        rPrecision: own === undefined ? null : meanEstimate(own, 0),
        gain: own === undefined || base === undefined || folder === floats ? null : gainOf(own, base),
      });
    }
    return { prompts: prompts.length, ways, scorer: scorer?.location ?? null, rows };
  } finally {
    await scorer?.dispose();
  }
}

async function openOne(location: string, b: Bench): Promise<Scorer> {
  const files = await host.openModel(location, { isOffline: true });
  return openScorer(files, { engine: await host.engine("ort"), threads: b.o.threads });
}

/** Draws what is not drawn yet and gives the folder; other prompts, settings or engines have others. */
async function draw(model: string, name: string, tasks: readonly Task[], b: Bench): Promise<string> {
  const [engine = "ort"] = b.o.engines ?? [];
  const [size] = b.o.sizes ?? [];
  const request = {
    ...(b.o.steps === undefined ? {} : { steps: b.o.steps }),
    ...(size === undefined ? {} : { width: size, height: size }),
  };
  const asked = contentHash(JSON.stringify({ tasks, request, engine })).slice(0, 12);
  const files = await host.openModel(model, { isOffline: true });
  const folder = await modelFolder(join(b.out, "quality", asked), name, files);
  const pipeline = await Pipeline.load(model, { engine, threads: b.o.threads, isOffline: true });
  try {
    await drawMissing(pipeline, folder, tasks, {
      request,
      maker: { model: name, version: b.version },
      signal: b.signal,
      onStep: (done, all) => b.count(`${name} draws`, done, all),
      onWarning: (message) => b.note(message),
    });
  } finally {
    await pipeline.dispose();
  }
  return folder;
}

async function psnrsOf(folder: string, floats: string, tasks: readonly Task[]): Promise<number[]> {
  const values: number[] = [];
  const others = drawn(floats, tasks);
  for await (const picture of drawn(folder, tasks)) {
    const { value: other } = await others.next();
    if (other) values.push(psnr(picture, other));
  }
  return values;
}

/** For each folder and question, 1 where the scorer found the picture's own prompt among the others. */
async function judge(
  scorer: Scorer,
  folders: readonly string[],
  tasks: readonly Task[],
  ways: number,
): Promise<number[][]> {
  const pool = tasks.map(({ prompt }) => ({ text: prompt, group: "" }));
  const { asked } = questions(pool, [...pool.keys()], { ways, seed: 0, where: "--prompts" });
  const captions = await scorer.texts(tasks.map(({ prompt }) => prompt));
  const found: number[][] = [];
  for (const folder of folders)
    found.push(answers(asked, await featuresOf(drawn(folder, tasks), scorer), (i) => rowOf(captions, i)));
  return found;
}

/** Both were asked the same questions, so the difference is drawn question by question. */
const gainOf = (own: readonly number[], base: readonly number[]): Estimate =>
  bootstrap(own.length, (members) => mean(members.map((i) => (own[i] ?? 0) - (base[i] ?? 0))), 0);

const estimateText = (e: Estimate | null, sign = ""): string =>
  e === null
    ? ""
    : `${e.value > 0 ? sign : ""}${e.value.toFixed(3)} (${e.low.toFixed(3)} to ${e.high.toFixed(3)})`;

export function qualityTable({ rows, prompts, ways, scorer }: Quality): Table {
  const isJudged = scorer !== null;
  const heads = [
    ...["", "mean PSNR, dB", "middle", "least", "most"],
    ...(isJudged ? [`R-precision, ${ways}-way`, "over the floats"] : []),
  ];
  const cells = rows.map(({ model, psnr: spread, meanPsnr, rPrecision, gain }) => [
    ...[model, meanPsnr, spread?.median, spread?.least, spread?.most].map((cell) =>
      typeof cell === "number" ? cell.toFixed(1) : (cell ?? ""),
    ),
    ...(isJudged ? [estimateText(rPrecision), estimateText(gain, "+")] : []),
  ]);
  return {
    title: `Pictures against those in floats, ${prompts} prompts, the same seeds`,
    rows: [heads, ...cells],
  };
}

/** Mean PSNR of each, with a line from the least to the most. */
export function qualityChart({ rows }: Quality): Promise<string> {
  const values = rows.flatMap(({ model, psnr: spread, meanPsnr }) =>
    spread === null ? [] : [{ model, mean: meanPsnr, least: spread.least, most: spread.most }],
  );
  const y = { field: "model", type: "nominal", sort: null, title: null } as const;
  const x = (field: string) =>
    ({ field, type: "quantitative", title: "PSNR against the floats, dB" }) as const;
  return svgOf({
    ...{ width: 420, height: 40 * Math.max(1, values.length), data: { values } },
    layer: [
      { mark: { type: "rule", strokeWidth: 2 }, encoding: { y, x: x("least"), x2: { field: "most" } } },
      { mark: { type: "point", filled: true, size: 90, color: "#c8702a" }, encoding: { y, x: x("mean") } },
    ],
  });
}
