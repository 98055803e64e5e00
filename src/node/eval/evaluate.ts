/** An evaluation from end to end: captions chosen, pictures drawn, features taken, metrics computed. */

import { basename, join, resolve } from "node:path";
import { check } from "../../core/assert.ts";
import { choose } from "../../eval/chance.ts";
import type { Features } from "../../eval/features.ts";
import { pick } from "../../eval/features.ts";
import { type Details, leastPictures, type Measured, type MetricName, measure } from "../../eval/measure.ts";
import { questions } from "../../eval/r-precision.ts";
import { openReconstructor, reconstruction } from "../../eval/reconstruction.ts";
import { openScorer, type Scorer } from "../../eval/scorer.ts";
import { psnr } from "../../image/psnr.ts";
import type { HostFiles } from "../../runtime/host.ts";
import type { Engine } from "../../runtime/session.ts";
import { TorchGenerator } from "../../tensor/random.ts";
import type { Size } from "../../train/data/buckets.ts";
import type { RecordOptions } from "../../train/data/record.ts";
import { contentHash } from "../data/hash.ts";
import { type DrawOptions, drawMissing, drawn, seedOf, type Task } from "./draw.ts";
import { beginEvaluation, modelFolder, shortNames } from "./folder.ts";
import {
  featuresOf,
  middle,
  openPictures,
  type Pictures,
  partOf,
  readPictures,
  realFeatures,
} from "./pictures.ts";

export interface EvaluationOptions {
  readonly models: readonly string[];
  readonly data: string;
  /** Folders within `data`; one that is "" is `data` itself. */
  readonly splits: readonly string[];
  /** Where nearest pictures are looked for, and more captions to choose from. */
  readonly train: string;
  /** Another data set that distances are measured against than the split itself. */
  readonly against?: string;
  readonly metrics: readonly MetricName[];
  readonly scorer?: HostFiles;
  /** Captions of each split. */
  readonly count: number;
  readonly ways: number;
  /** Cosine above which a picture counts as near a training picture. */
  readonly near: number;
  readonly group: string;
  readonly captions?: readonly string[];
  readonly seed: number;
  readonly request: Readonly<Record<string, unknown>>;
  readonly size?: Size;
  readonly out: string;
  readonly engine: Engine;
  readonly threads?: number;
  readonly signal: AbortSignal;
  readonly kept?: Kept;
}

/** What is known of real pictures, for a caller that evaluates the same data again with the same scorer. */
export interface Kept {
  /** By where they lie and what was asked of their records. */
  readonly pictures: Map<string, Pictures>;
  /** By their source's key. */
  readonly features: Map<string, Features>;
}

export const nothingKept = (): Kept => ({ pictures: new Map(), features: new Map() });

type Drawer = Parameters<typeof drawMissing>[0];

/** What the surroundings do for an evaluation. */
export interface Surroundings extends Pick<DrawOptions, "onStep" | "onWarning"> {
  openModel(location: string): Promise<HostFiles>;
  /** Ready to draw; asked only for models that have pictures missing. */
  load(location: string): Promise<Drawer & { dispose(): Promise<void> }>;
  note(line: string): void;
  readonly version: string;
}

/** One model on one part of the data. */
export interface Result {
  readonly model: string;
  readonly split: string;
  readonly measured: Measured;
  readonly details: Details;
  readonly tasks: readonly Task[];
  /** Where the pictures lie; null where none were drawn. */
  readonly folder: string | null;
}

export interface Evaluation {
  readonly splits: readonly Part[];
  readonly train: Pictures;
  readonly results: readonly Result[];
  readonly scorer: string | null;
}

/** A part of the data with the captions that are drawn. */
export interface Part {
  readonly pictures: Pictures;
  /** Numbers of entries. */
  readonly chosen: readonly number[];
}

const options = ({ engine, threads }: EvaluationOptions) => ({
  engine,
  ...(threads === undefined ? {} : { threads }),
});

/** @throws KoalaError E_FILE, E_CONFIG, E_MODEL, E_OUTPUT, E_DISK; and what drawing throws */
export async function evaluate(o: EvaluationOptions, s: Surroundings): Promise<Evaluation> {
  const names = shortNames(o.models);
  const needsPictures = o.metrics.some((metric) => metric !== "psnr");
  const scorer = o.scorer === undefined ? null : await openScorer(o.scorer, options(o));
  try {
    const train = await open({ name: "train", path: o.train }, o, s);
    const splits: Part[] = [];
    for (const split of o.splits) {
      const path = partOf(o.data, split);
      const name = split === "" ? basename(resolve(path)) : split;
      const pictures = path === o.train ? { ...train, name } : await open({ name, path }, o, s);
      const random = new TorchGenerator(o.seed);
      const chosen = choose(pictures.entries.length, o.count, random).sort((a, b) => a - b);
      checkEnough(pictures, chosen.length, o.metrics);
      splits.push({ pictures, chosen });
    }
    // before anything is drawn: questions that cannot be asked are no use after an hour
    const judged = needsPictures ? splits.map((part) => ask(part, train, o)) : [];
    const against = await openAgainst(train, o, s);
    await beginEvaluation(o.out, subjectOf(splits, o));
    const folders = needsPictures ? await drawAll(names, splits, o, s) : new Map<string, string>();
    const quality = await psnrs(names, splits, o, s);
    const results: Result[] = [];
    const judges = scorer === null ? [] : await prepare(scorer, splits, judged, { train, against }, o, s);
    for (const [i, part] of splits.entries()) {
      for (const model of names) {
        const split = part.pictures.name;
        const vae = quality.get(`${model}/${split}`) ?? {};
        const folder = folders.get(`${model}/${split}`) ?? null;
        const judge = judges[i];
        const found =
          judge === undefined || folder === null ? nothing : await judge(drawnTasks(part, o), folder);
        const { measured, details } = found;
        const tasks = folder === null ? [] : drawnTasks(part, o);
        results.push({ model, split, measured: { ...measured, ...vae }, details, tasks, folder });
      }
    }
    return { splits, train, results, scorer: o.scorer?.location ?? null };
  } finally {
    await scorer?.dispose();
  }
}

/** @throws KoalaError E_CONFIG when a metric has no value for so few */
function checkEnough(pictures: Pictures, count: number, metrics: readonly MetricName[]): void {
  for (const metric of metrics)
    check(count >= (leastPictures[metric] ?? 1), "E_CONFIG", () => ({
      where: pictures.source.name,
      expected: `at least ${leastPictures[metric]} captions to draw, for ${metric}`,
      got: `${count}`,
      hint: "A larger --count or fewer --metrics would do.",
    }));
}

const nothing: ReturnType<typeof measure> = {
  measured: {},
  details: { cosines: [], isFound: [], neighbours: [] },
};

/** What the data's records must say: captions to draw, and groups to choose others from. */
const recordsOf = ({ captions, group, metrics }: EvaluationOptions): RecordOptions => ({
  ...(captions === undefined ? {} : { captions }),
  ...(metrics.includes("r-precision") ? { group } : {}),
  isCaptionOptional: metrics.every((metric) => metric === "psnr"),
});

/** Whether more than captions is taken of what lies there: training data may only be there to choose captions from. */
const hasPixels = (path: string, { data, splits, train, against, metrics }: EvaluationOptions): boolean =>
  path !== train ||
  path === against ||
  metrics.includes("nearest") ||
  splits.some((split) => partOf(data, split) === path);

async function open(
  { name, path, records }: { readonly name: string; readonly path: string; readonly records?: RecordOptions },
  o: EvaluationOptions,
  s: Surroundings,
): Promise<Pictures> {
  const asked = { records: records ?? recordsOf(o), isThorough: hasPixels(path, o) };
  const key = JSON.stringify([path, asked]);
  const pictures =
    o.kept?.pictures.get(key) ?? (await openPictures(name, [path], { ...asked, signal: o.signal }));
  if (o.kept?.pictures.has(key) !== true) for (const line of pictures.skipped) s.onWarning(line);
  o.kept?.pictures.set(key, pictures);
  return { ...pictures, name };
}

/** What distances are measured against instead of each split, of which nothing but the pixels counts; null: nothing is. */
async function openAgainst(train: Pictures, o: EvaluationOptions, s: Surroundings): Promise<Pictures | null> {
  const { against: path, metrics } = o;
  if (path === undefined || !(metrics.includes("frechet") || metrics.includes("kid"))) return null;
  if (path === o.train) return train;
  return open({ name: "against", path, records: { isCaptionOptional: true } }, o, s);
}

const drawnTasks = ({ pictures, chosen }: Part, { seed }: EvaluationOptions): Task[] =>
  chosen.map((number) => ({
    number,
    prompt: pictures.entries[number]?.text ?? "",
    seed: seedOf(seed, number),
  }));

const subjectOf = (splits: readonly Part[], o: EvaluationOptions) => ({
  seed: o.seed,
  count: o.count,
  split: o.splits.join(","),
  request: o.request,
  captions: contentHash(
    JSON.stringify(
      splits.map(({ pictures, chosen }) =>
        chosen.map((i) => [pictures.entries[i]?.hash, pictures.entries[i]?.text]),
      ),
    ),
  ),
});

/** R-precision's questions about a part: its captions first, then those of the training data, to choose from. */
function ask({ pictures, chosen }: Part, train: Pictures, o: EvaluationOptions) {
  if (!o.metrics.includes("r-precision")) return null;
  const isSame = pictures.source === train.source;
  const pool = isSame ? pictures.entries : [...pictures.entries, ...train.entries];
  const found = questions(pool, chosen, { ways: o.ways, seed: o.seed, where: pictures.source.name });
  return { ...found, ways: o.ways, pool: pool.map(({ text }) => text) };
}

async function drawAll(
  names: readonly string[],
  splits: readonly Part[],
  o: EvaluationOptions,
  s: Surroundings,
): Promise<Map<string, string>> {
  const folders = new Map<string, string>();
  for (const [i, location] of o.models.entries()) {
    const name = names[i] ?? "";
    const base = await modelFolder(o.out, name, await s.openModel(location));
    const drawer = await s.load(location);
    try {
      for (const part of splits) {
        const folder = join(base, part.pictures.name);
        const tasks = drawnTasks(part, o);
        folders.set(`${name}/${part.pictures.name}`, folder);
        const maker = { model: name, version: s.version };
        const made = await drawMissing(drawer, folder, tasks, { ...s, ...o, maker });
        const kept = tasks.length - made;
        s.note(`${name}, ${part.pictures.name}: ${made} pictures drawn, ${kept} were there`);
      }
    } finally {
      await drawer.dispose();
    }
  }
  return folders;
}

/** dB of every model's VAE on every part. */
async function psnrs(
  names: readonly string[],
  splits: readonly Part[],
  o: EvaluationOptions,
  s: Surroundings,
): Promise<Map<string, Pick<Measured, "psnr">>> {
  const found = new Map<string, Pick<Measured, "psnr">>();
  if (!o.metrics.includes("psnr")) return found;
  for (const [i, location] of o.models.entries()) {
    const vae = await openReconstructor(await s.openModel(location), options(o));
    try {
      const side = vae.sampleSize;
      const size = o.size ?? (side === null ? null : { width: side, height: side });
      check(
        size !== null && size.width % vae.factor === 0 && size.height % vae.factor === 0,
        "E_FLAG",
        () => ({
          where: "--width, --height",
          expected: `multiples of ${vae.factor} px, at which to try the VAE of ${location}`,
          got: size === null ? "nothing, and its config does not say" : `${size.width} x ${size.height}`,
        }),
      );
      for (const { pictures, chosen } of splits) {
        const values: number[] = [];
        for await (const { picture } of readPictures(pictures, middle(size), new Set(chosen))) {
          o.signal.throwIfAborted();
          values.push(psnr(picture, await vae.reconstruct(picture)));
        }
        const kept = { ...reconstruction(values, o.seed), pictures: values.length };
        found.set(`${names[i]}/${pictures.name}`, { psnr: kept });
        s.note(`${names[i]}, ${pictures.name}: ${values.length} pictures through the VAE`);
      }
    } finally {
      await vae.dispose();
    }
  }
  return found;
}

type Judge = (tasks: readonly Task[], folder: string) => Promise<ReturnType<typeof measure>>;

/** What is the same for all models is computed once: features of real pictures and of captions. */
async function prepare(
  scorer: Scorer,
  splits: readonly Part[],
  asked: readonly ReturnType<typeof ask>[],
  { train, against: other }: { readonly train: Pictures; readonly against: Pictures | null },
  o: EvaluationOptions,
  s: Surroundings,
): Promise<Judge[]> {
  const has = (...names: MetricName[]): boolean => names.some((name) => o.metrics.includes(name));
  const { features: kept } = o.kept ?? nothingKept();
  const all = async (pictures: Pictures): Promise<Features> => {
    const features =
      kept.get(pictures.source.key) ??
      (await realFeatures(pictures, scorer, { signal: o.signal, onPicture() {} }));
    if (!kept.has(pictures.source.key))
      s.note(`${pictures.name}: features of ${features.count} real pictures`);
    kept.set(pictures.source.key, features);
    return features;
  };
  const training = has("nearest") ? await all(train) : null;
  const judges: Judge[] = [];
  for (const [i, { pictures, chosen }] of splits.entries()) {
    const against = has("frechet", "kid") ? await all(other ?? pictures) : null;
    const everything = kept.get(pictures.source.key);
    const some = { wanted: chosen, signal: o.signal, onPicture() {} };
    const real =
      everything === undefined ? await realFeatures(pictures, scorer, some) : pick(everything, chosen);
    const padded = has("hps") ? await realFeatures(pictures, scorer, { ...some, framing: "pad" }) : null;
    const captions = await scorer.texts(chosen.map((number) => pictures.entries[number]?.text ?? ""));
    const question = asked[i] ?? null;
    const pool = question === null ? null : await scorer.texts(question.pool);
    judges.push(async (tasks, folder) =>
      measure({
        metrics: o.metrics,
        drawn: await featuresOf(drawn(folder, tasks), scorer),
        real,
        captions,
        ...(question === null || pool === null ? {} : { questions: { ...question, pool } }),
        ...(padded === null
          ? {}
          : { padded: { drawn: await featuresOf(drawn(folder, tasks), scorer, "pad"), real: padded } }),
        ...(against === null ? {} : { against }),
        ...(training === null
          ? {}
          : {
              nearest: {
                training,
                threshold: o.near,
                isSame: (one: number, number: number) =>
                  pictures.entries[chosen[one] ?? -1]?.hash === train.entries[number]?.hash,
              },
            }),
        seed: o.seed,
      }),
    );
  }
  return judges;
}
