/** Training runs as the studio shows them. A run is named by its place in the list, never by a path from outside. */

import { readFile } from "node:fs/promises";
import { basename, relative } from "node:path";
import { KoalaError } from "../../core/errors.ts";
import type { StepRecord } from "../../train/run.ts";
import { findRuns, RunFolder } from "../runs/folder.ts";

export interface RunSummary {
  /** What the other paths call it. */
  readonly name: string;
  readonly kind: string;
  readonly steps: number;
  /** Done so far. */
  readonly step: number;
  readonly loss: number | null;
}

export interface RunView extends RunSummary {
  readonly records: readonly StepRecord[];
  /** Sheets of samples, oldest first. */
  readonly samples: readonly { readonly step: number; readonly url: string }[];
}

/** "teacher/run-1" → "teacher~run-1": a segment of a URL. */
const nameOf = (root: string, path: string): string =>
  relative(root, path).replaceAll("\\", "/").replaceAll("/", "~") || basename(path);

const stepOf = (samplePath: string): number => Number(/step-(\d+)\.png$/.exec(samplePath)?.[1] ?? 0);

async function summary(name: string, folder: RunFolder, records: readonly StepRecord[]): Promise<RunSummary> {
  const last = records.at(-1);
  const { kind, steps } = folder.run;
  return { name, kind, steps, step: last?.step ?? 0, loss: last?.loss ?? null };
}

/** Runs that can be read; a broken one does not hide the others. */
export async function listRuns(root: string | null): Promise<RunSummary[]> {
  if (root === null) return [];
  const found = await Promise.all(
    (await findRuns(root)).map(async (path) => {
      const folder = await RunFolder.open(path, { isExact: false }).catch(() => null);
      return folder === null ? null : summary(nameOf(root, path), folder, await folder.records());
    }),
  );
  return found.filter((run) => run !== null);
}

/** @throws KoalaError E_NOT_FOUND */
async function open(root: string | null, name: string): Promise<RunFolder> {
  const paths = root === null ? [] : await findRuns(root);
  const path = paths.find((candidate) => nameOf(root ?? "", candidate) === name);
  if (path === undefined)
    throw new KoalaError("E_NOT_FOUND", {
      where: "run",
      expected: root === null ? "a server that shows runs" : "a run that /api/runs lists",
      got: JSON.stringify(name.slice(0, 80)),
      ...(root === null ? { hint: "koala serve --runs DIR shows the runs in a folder." } : {}),
    });
  return RunFolder.open(path, { isExact: false });
}

/** @throws KoalaError E_NOT_FOUND */
export async function readRun(root: string | null, name: string): Promise<RunView> {
  const folder = await open(root, name);
  const records = await folder.records();
  const samples = (await folder.samples()).map((path) => ({
    step: stepOf(path),
    url: `/api/runs/${encodeURIComponent(name)}/samples/${stepOf(path)}`,
  }));
  return { ...(await summary(name, folder, records)), records, samples };
}

/** @throws KoalaError E_NOT_FOUND */
export async function runSample(
  root: string | null,
  name: string,
  step: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const paths = await (await open(root, name)).samples();
  const path = paths.find((candidate) => stepOf(candidate) === step);
  if (path === undefined)
    throw new KoalaError("E_NOT_FOUND", {
      where: "step",
      expected: paths.length === 0 ? "a run with samples" : `one of ${paths.map(stepOf).join(", ")}`,
      got: String(step),
    });
  return new Uint8Array(await readFile(path));
}
