/**
 * The folder of an evaluation: what it is about (evaluation.json), a folder of pictures a model and part of the data,
 * and the results. Pictures that are there are kept, as long as they are of the same captions, seeds and model.
 */

import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import type { HostFiles } from "../../runtime/host.ts";
import { contentHash } from "../data/hash.ts";
import { makeFolder, writeAtomically } from "../files.ts";

/** What decides which pictures are drawn. Another value of any field is another evaluation. */
export interface Subject {
  readonly seed: number;
  readonly count: number;
  readonly split: string;
  /** Steps, guidance and so on, where they are not the model's own. */
  readonly request: Readonly<Record<string, unknown>>;
  /** Of the captions, with their pictures. */
  readonly captions: string;
}

const file = "evaluation.json";

/**
 * Begins an evaluation in `out`, or goes on with the one that is there.
 * @throws KoalaError E_OUTPUT when the folder holds another evaluation or other things, E_DISK
 */
export async function beginEvaluation(out: string, subject: Subject): Promise<void> {
  const path = join(out, file);
  if (!existsSync(path)) {
    await makeFolder(out);
    await writeAtomically(path, `${JSON.stringify(subject, null, 2)}\n`);
    return;
  }
  const begun = await readObject(path);
  for (const [field, now] of Object.entries(subject)) {
    const [was, is] = [JSON.stringify(begun[field]), JSON.stringify(now)];
    check(was === is, "E_OUTPUT", () => ({
      where: `${path} (${field})`,
      expected: field === "captions" ? "the captions that this folder's pictures were drawn from" : `${was}`,
      got: field === "captions" ? "others" : is,
      hint: "The folder holds another evaluation: choose another --out, or remove it.",
    }));
  }
}

async function readObject(path: string): Promise<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // said below
  }
  throw new KoalaError("E_OUTPUT", {
    where: path,
    expected: "what koala eval wrote there",
    got: "a file that is none",
    hint: "Remove the folder, or choose another --out.",
  });
}

/**
 * The folder of a model's pictures.
 * @throws KoalaError E_OUTPUT when it holds those of an earlier state of the model, E_DISK
 */
export async function modelFolder(out: string, name: string, files: HostFiles): Promise<string> {
  const folder = join(out, name);
  const path = join(folder, "model.json");
  const stamp = await stampOf(files);
  if (existsSync(path)) {
    const { stamp: before } = await readObject(path);
    check(before === stamp, "E_OUTPUT", () => ({
      where: folder,
      expected: `pictures by ${files.location} as it is now`,
      got: "those of other files",
      hint: "The model has changed since: remove that folder to draw anew, or choose another --out.",
    }));
  } else {
    await makeFolder(folder, { mayHaveFiles: true });
    await writeAtomically(path, `${JSON.stringify({ location: files.location, stamp }, null, 2)}\n`);
  }
  return folder;
}

/** Names, sizes and times of a model's files: reading all of their bytes would take longer than drawing. */
async function stampOf(files: HostFiles): Promise<string> {
  const lines: string[] = [];
  for (const path of [...(await files.list())].sort()) {
    const local = files.localPath(path);
    const time = local === null ? "" : (await stat(local)).mtimeMs;
    lines.push(`${path} ${await files.size(path)} ${time}`);
  }
  return contentHash(lines.join("\n"));
}

/** Short names of models, all different: the ends of their paths. */
export function shortNames(models: readonly string[]): string[] {
  const parts = models.map((model) => (existsSync(model) ? resolve(model) : model).split(/[\\/]/));
  for (let depth = 1; ; depth++) {
    const names = parts.map((path) => path.slice(-depth).join("-"));
    if (new Set(names).size === names.length) return names.map((name) => name.replace(/\.safetensors$/, ""));
    if (depth > Math.max(...parts.map(({ length }) => length)))
      throw new KoalaError("E_FLAG", {
        where: "MODEL",
        expected: "each model once",
        got: `${basename(models.find((m, i) => models.indexOf(m) !== i) ?? "")} twice`,
      });
  }
}
