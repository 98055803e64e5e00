/**
 * The work of a study, in order: data, models, the teacher's pictures, then arm by arm each seed. What is done is on the
 * disk and is not done again: a study that was killed goes on with the arm at hand, and within it from its last checkpoint.
 */

import { existsSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { KoalaError } from "../../core/errors.ts";
import { parseObject } from "../../train/data/record.ts";
import { makeFolder, writeAtomically } from "../files.ts";
import { type Bench, picturesFolder } from "./bench.ts";
import { drawName, type Plan, type Training, type Trial, teacherDraws } from "./plan.ts";
import type { Drawn, Result, Trained } from "./scores.ts";
import type { DataFacts } from "./variants.ts";

export interface Findings {
  /** Of the arms and seeds that are done. */
  readonly results: readonly Result[];
  /** The teacher's own pictures, in every way that arms are drawn. */
  readonly teacher: readonly Drawn[];
  readonly variants: Readonly<Record<string, DataFacts>>;
}

export interface Watch {
  note(line: string): void;
  /** After each seed of all arms. */
  onSeed(findings: Findings): Promise<void>;
}

/** What was computed before is read; else it is computed and kept. @throws what `make` throws */
async function once<T>(path: string, make: () => Promise<T>): Promise<T> {
  const kept = existsSync(path) ? parseObject(await readFile(path, "utf8")) : null;
  if (kept !== null) return kept as unknown as T;
  const value = await make();
  await makeFolder(dirname(path), { mayHaveFiles: true });
  await writeAtomically(path, `${JSON.stringify(value, null, 1)}\n`);
  return value;
}

/** Makes what is cut out of the teacher, which costs nothing. @throws as `koala cut` does */
export async function cutAll({ made }: Pick<Plan, "made">, bench: Bench): Promise<void> {
  for (const { how, path } of made) if (how.kind === "cut" && !existsSync(path)) await bench.cut(how, path);
}

const trainedFile = "trained.json";

/** Trains, unless that is done, and takes away what only going on would need. */
async function trainOnce({ path, fields }: Training, bench: Bench): Promise<Trained> {
  const trained = await once(join(path, trainedFile), () => bench.train(fields, path));
  await rm(join(path, "checkpoints"), { recursive: true, force: true });
  return trained;
}

/** @throws what the bench throws; what is done by then is kept */
export async function conduct(plan: Plan, out: string, bench: Bench, watch: Watch): Promise<Findings> {
  const variants: Record<string, DataFacts> = {};
  for (const variant of plan.variants) {
    const { name, path } = variant;
    variants[name] = await once(`${path}.json`, async () => {
      watch.note(`data ${name}`);
      await rm(path, { recursive: true, force: true });
      return bench.variant(variant, path);
    });
  }
  await cutAll(plan, bench);
  for (const { name, path, training } of plan.made) {
    if (training === null) continue;
    if (!existsSync(join(path, trainedFile))) watch.note(`makes ${name}`);
    await trainOnce(training, bench);
  }
  const teacher: Drawn[] = [];
  for (const draw of teacherDraws(plan)) {
    const folder = picturesFolder(join(out, "teacher"), draw);
    teacher.push(await once(`${folder}.json`, () => bench.judge(plan.settings.teacher, draw, folder, null)));
  }
  const results: Result[] = [];
  for (const [i, trial] of plan.trials.entries()) {
    const file = join(trial.path, "result.json");
    const place = `${trial.arm.name}, seed ${trial.seed} (${i + 1} of ${plan.trials.length})`;
    if (!existsSync(file)) watch.note(place);
    results.push(await once(file, () => tryOut(trial, teacher, plan, bench).catch(failed(trial))));
    const isLastOfSeed = plan.trials[i + 1]?.seed !== trial.seed;
    if (isLastOfSeed) await watch.onSeed({ results: [...results], teacher, variants });
  }
  return { results, teacher, variants };
}

/** Numbers that run away are what an arm came to, and would run away again; anything else ends the study. */
const failed =
  ({ arm, seed }: Trial) =>
  (error: unknown): Result => {
    if (!(error instanceof KoalaError) || error.code !== "E_NAN") throw error;
    const [failure = ""] = error.message.split("\n");
    return { arm: arm.name, seed, trained: null, parameters: 0, draws: [], failure };
  };

async function tryOut(
  { arm, seed, path, training, model, draws }: Trial,
  teacher: readonly Drawn[],
  { settings }: Plan,
  bench: Bench,
): Promise<Result> {
  const trained = training === null ? null : await trainOnce(training, bench);
  const drawn: Drawn[] = [];
  for (const draw of draws) {
    const theirs = teacher.find((one) => one.draw === drawName(draw)) as Drawn;
    drawn.push(
      model === settings.teacher
        ? theirs
        : await bench.judge(model, draw, picturesFolder(path, draw), theirs),
    );
  }
  return { arm: arm.name, seed, trained, parameters: await bench.parameters(model), draws: drawn };
}
