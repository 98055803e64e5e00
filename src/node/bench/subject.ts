/** The model that is measured: a folder, or a preset with random weights; and what is made of it once and kept. */

import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { check } from "../../core/assert.ts";
import { nearest } from "../../core/nearest.ts";
import type { ModelDefaults } from "../../models/detect.ts";
import { anyPresetNames } from "../../models/pixart-presets.ts";
import { type Format, formats } from "../../quantize/plan.ts";
import { RECIPE_FILE } from "../../weights/recipe.ts";
import { usualModel, usualModelName } from "../cli/package.ts";
import { contentHash } from "../data/hash.ts";
import { type Bench, koala } from "./bench.ts";

export interface Subject {
  readonly name: string;
  readonly folder: string;
  /** What its weights are stored in, where that is not floats. */
  readonly format: Format | null;
  /** Where what is made of it is kept. */
  readonly files: string;
  readonly defaults: ModelDefaults;
  readonly hasUNet: boolean;
  /** Whether it is of SDXL's kind. */
  readonly hasTwoEncoders: boolean;
}

/**
 * @throws KoalaError E_MODEL for what is neither a preset nor a model's folder; what `koala init` throws
 */
export async function subjectOf(what: string, b: Bench): Promise<Subject> {
  const isPreset = anyPresetNames.includes(what) && !existsSync(what);
  const folder = isPreset ? join(b.cache, "models", what) : what === usualModelName ? usualModel : what;
  if (isPreset && !existsSync(folder)) await makePreset(what, folder, b);
  check(existsSync(join(folder, "model_index.json")), "E_MODEL", () => {
    const near = nearest(what, [...anyPresetNames, usualModelName])[0];
    return {
      where: what,
      expected: "a preset, or a folder with a model_index.json",
      got: existsSync(folder) ? "a folder without one" : "neither",
      hint:
        near === undefined
          ? `Presets are ${anyPresetNames.join(", ")}; of a model on the hub, name the folder that koala download prints.`
          : `Did you mean ${near}?`,
    };
  });
  const { Pipeline } = await import("../../pipeline/pipeline.ts");
  const { defaults } = await Pipeline.load(folder, { engine: "ort", isOffline: true });
  return {
    ...{ name: basename(resolve(folder)), folder, defaults },
    format: await formatOf(folder),
    files: join(b.cache, "made", `${basename(resolve(folder))}-${await stampOf(folder)}`),
    hasUNet: existsSync(join(folder, "unet")),
    hasTwoEncoders: existsSync(join(folder, "text_encoder_2")),
  };
}

/** A folder of random weights, whole or not at all. */
export async function makePreset(name: string, folder: string, b: Bench): Promise<void> {
  b.stage(`makes ${name} with random weights`);
  await mkdir(dirname(folder), { recursive: true });
  await made(folder, () => b.run(koala(b, "init", name, folder, "--dtype", "float16", "--quiet")));
}

/** Runs what makes `target`; what a killed process left of it is taken away. */
async function made(target: string, make: () => Promise<unknown>): Promise<void> {
  try {
    await make();
  } catch (error) {
    const parent = dirname(target);
    for (const name of await readdir(parent))
      if (name.startsWith(`${basename(target)}.partial-`)) await rm(join(parent, name), { recursive: true });
    throw error;
  }
}

/** `int8` or `int4`, where `koala quantize` made the folder. */
async function formatOf(folder: string): Promise<Format | null> {
  const text = await readFile(join(folder, RECIPE_FILE), "utf8").catch(() => null);
  if (text === null) return null;
  const { format } = JSON.parse(text) as { readonly format?: unknown };
  return formats.find((known) => known === format) ?? null;
}

/** Tells a model from another of the same name, and from what it was before: names, sizes and times of its files. */
async function stampOf(folder: string): Promise<string> {
  const lines: string[] = [resolve(folder)];
  for (const file of (await readdir(folder, { recursive: true })).sort()) {
    const { size, mtimeMs } = await stat(join(folder, file));
    lines.push(`${file} ${size} ${mtimeMs}`);
  }
  return contentHash(lines.join("\n")).slice(0, 8);
}

/** Speed rests on which layers are integers, not on their scales: a small picture finds those in less time. */
const calibration = { prompts: ["a red apple"], steps: 2, mostPx: 256 };

/**
 * The subject in integers: of the folders that the user named, or made now and kept.
 * @throws KoalaError what `koala quantize` throws
 */
export async function quantizedOf(subject: Subject, format: Format, b: Bench): Promise<string> {
  for (const folder of b.o.quantized) if ((await formatOf(folder)) === format) return folder;
  const folder = join(subject.files, format);
  if (existsSync(folder)) return folder;
  b.stage(`quantizes ${subject.name} to ${format}`);
  await mkdir(subject.files, { recursive: true });
  const prompts = join(b.temporary, "prompts.txt");
  await writeFile(prompts, `${calibration.prompts.join("\n")}\n`);
  const px = Math.min(calibration.mostPx, subject.defaults.width);
  const size = ["--size", `${px}x${px}`, "--steps", String(calibration.steps), "--calibrate", prompts];
  const threads = ["--threads", String(b.o.threads)];
  await made(folder, () =>
    b.run(koala(b, "quantize", subject.folder, folder, "--to", format, ...size, ...threads, "--quiet")),
  );
  return folder;
}

/** Their folders are told apart from models by what they hold. @throws KoalaError E_FLAG */
export async function checkQuantized(folders: readonly string[]): Promise<void> {
  for (const folder of folders)
    check((await formatOf(folder)) !== null, "E_FLAG", () => ({
      where: "--quantized",
      expected: "a folder that koala quantize made",
      got: folder,
    }));
}
