/**
 * A run's folder: `config.yaml` (every field resolved), `run.json` (what made it), `log.jsonl` (a line a step, and one for what its
 * samples measured), `samples/`, `checkpoints/` and `model/`, the result as a diffusers folder. `resume` needs nothing else.
 */

import { existsSync } from "node:fs";
import { appendFile, mkdir, readdir, readFile, rm, rmdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parse as parseYaml, stringify } from "yaml";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { parseRun, type Run } from "../../train/config.ts";
import { parseObject } from "../../train/data/record.ts";
import { rateOf, type StepRecord } from "../../train/run.ts";
import { stateFile, type TrainingState } from "../../train/state.ts";
import { packageVersion } from "../cli/package.ts";
import { contentHash } from "../data/hash.ts";
import { makeFolder, openFolder, outputError, writeAtomically } from "../files.ts";

/** Of the folder's layout; another one is refused. */
const format = 1;

const configName = "config.yaml";
const infoName = "run.json";
const logName = "log.jsonl";
/** Of what is computed of the data; it outlives a run that failed before its first step. */
const cacheName = "cache";

/** What `run.json` holds. */
interface RunInfo {
  readonly format: number;
  readonly version: string;
  /** Of the configuration's text. */
  readonly config: string;
  /** The same of the text before the last change of its steps: a kill can fall between this file and that one. */
  readonly before?: string;
  readonly started: string;
}

/** A checkpoint that is there. */
export interface Checkpoint {
  readonly step: number;
  readonly path: string;
}

const checkpointName = /^step-(\d+)\.safetensors$/;
const named = (step: number): string => `step-${String(step).padStart(8, "0")}`;

const writeInfo = (path: string, info: RunInfo): Promise<void> =>
  writeAtomically(join(path, infoName), `${JSON.stringify(info, null, 2)}\n`);

/** The YAML text of a run's configuration. */
export const configText = (run: Run): string => stringify(run, { lineWidth: 0 });

/**
 * The fields in a YAML file, unchecked.
 * @throws KoalaError E_FILE when it cannot be read, E_CONFIG when it is not YAML, or no list of fields
 */
export async function readConfigFile(path: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new KoalaError("E_FILE", {
      where: path,
      expected: "a YAML file that can be read",
      got: (cause as NodeJS.ErrnoException).code === "ENOENT" ? "no such file" : (cause as Error).message,
      cause,
    });
  }
  let value: unknown;
  try {
    value = parseYaml(text);
  } catch (cause) {
    throw new KoalaError("E_CONFIG", {
      where: path,
      expected: "YAML",
      got: (cause as Error).message.split("\n")[0] ?? "",
      cause,
    });
  }
  check(typeof value === "object" && value !== null && !Array.isArray(value), "E_CONFIG", () => ({
    where: path,
    expected: "fields of a run, such as steps: 1000",
    got: value === null ? "nothing" : "something else",
  }));
  return value as Record<string, unknown>;
}

/** The run of a file's fields. @throws KoalaError E_CONFIG that names the file too */
function parsedIn(path: string, fields: Record<string, unknown>): Run {
  try {
    return parseRun(fields);
  } catch (error) {
    throw error instanceof KoalaError ? error.reworded({ where: `${path}, ${error.where}` }) : error;
  }
}

/** The command that makes a run of that kind. */
export const commandOf = (kind: unknown): string =>
  kind === "distill" || kind === "consistency" ? "koala distill" : "koala train";

export class RunFolder {
  readonly path: string;
  readonly run: Run;
  private readonly info: RunInfo;

  private constructor(path: string, run: Run, info: RunInfo) {
    this.path = path;
    this.run = run;
    this.info = info;
  }

  /** @throws KoalaError E_OUTPUT when there is something at `path`, or it cannot be written; E_DISK */
  static async create(path: string, run: Run): Promise<RunFolder> {
    check(!existsSync(join(path, infoName)), "E_OUTPUT", () => ({
      where: path,
      expected: "a folder for a new run",
      got: "one that holds a run",
      hint: `koala resume ${path} goes on with it.`,
    }));
    await makeFolder(path, { mayHaveFiles: true });
    const files = (await readdir(path)).filter((name) => name !== cacheName);
    check(files.length === 0, "E_OUTPUT", () => ({
      where: path,
      expected: "an empty folder, or none yet",
      got: `${files.length} files, such as ${files[0]}`,
    }));
    const text = configText(run);
    const info: RunInfo = {
      format,
      version: packageVersion(),
      config: contentHash(text),
      started: new Date().toISOString(),
    };
    for (const folder of ["samples", "checkpoints"]) await mkdir(join(path, folder));
    await writeAtomically(join(path, configName), text);
    await writeInfo(path, info);
    return new RunFolder(path, run, info);
  }

  /**
   * A run that is there. With `isExact` it must be of this version and configuration, as going on with it needs.
   * @throws KoalaError E_FILE when it is no run, E_CONFIG when it is of another version or its configuration was changed
   */
  static async open(path: string, o: { readonly isExact: boolean }): Promise<RunFolder> {
    await openFolder(path);
    const info = parseObject(await readFile(join(path, infoName), "utf8").catch(() => ""));
    check(info !== null, "E_FILE", () => ({
      where: path,
      expected: "the folder of a run",
      got: "no run.json",
    }));
    check(info.format === format, "E_CONFIG", () => ({
      where: path,
      expected: `a run folder of format ${format}`,
      got: `format ${String(info.format)}`,
    }));
    const fields = await readConfigFile(join(path, configName));
    const text = await readFile(join(path, configName), "utf8");
    const isKnown = [info.config, info.before].includes(contentHash(text));
    check(!o.isExact || isKnown, "E_CONFIG", () => ({
      where: join(path, configName),
      expected: "the configuration that the run began with",
      got: "another one",
      hint: `Undo the change, or begin a new run with it: ${commandOf(fields.kind)} config.yaml --out NEW.`,
    }));
    check(!o.isExact || info.version === packageVersion(), "E_CONFIG", () => ({
      where: path,
      expected: `a run of koala ${packageVersion()}, which is what runs here`,
      got: `one of ${String(info.version)}`,
      hint: "Another version may compute other numbers: go on with the one that began the run.",
    }));
    return new RunFolder(path, parsedIn(join(path, configName), fields), info as unknown as RunInfo);
  }

  /**
   * The same run with another end, which is no earlier than what was kept of it.
   * @throws KoalaError E_CONFIG, E_REQUEST when its last checkpoint or its warm-up is later; E_DISK, E_OUTPUT
   */
  async withSteps(steps: number): Promise<RunFolder> {
    const run = parseRun({ ...this.run, steps });
    rateOf(run);
    const [last] = await this.checkpoints();
    check(last === undefined || steps >= last.step, "E_CONFIG", () => ({
      where: "steps",
      expected: `at least ${last?.step}, the step of the last checkpoint in ${this.path}`,
      got: String(steps),
    }));
    const [before, text] = [configText(this.run), configText(run)];
    const info = { ...this.info, config: contentHash(text), before: contentHash(before) };
    await writeInfo(this.path, info);
    await writeAtomically(join(this.path, configName), text);
    return new RunFolder(this.path, run, info);
  }

  get modelPath(): string {
    return join(this.path, "model");
  }

  get cachePath(): string {
    return this.run.cache ?? join(this.path, cacheName);
  }

  samplePath(step: number): string {
    return join(this.path, "samples", `${named(step)}.png`);
  }

  /** Whether a sheet, or what else there is to show after `step`, is there. */
  async isSampled(step: number): Promise<boolean> {
    if (existsSync(this.samplePath(step))) return true;
    return (await this.records()).some((record) => record.step === step && record.measures !== undefined);
  }

  /** Sheets of samples, oldest first. */
  async samples(): Promise<string[]> {
    const names = await readdir(join(this.path, "samples")).catch(() => []);
    return names
      .filter((name) => /^step-\d+\.png$/.test(name))
      .sort()
      .map((name) => join(this.path, "samples", name));
  }

  /** Newest first. */
  async checkpoints(): Promise<Checkpoint[]> {
    const names = await readdir(join(this.path, "checkpoints")).catch(() => []);
    return names
      .flatMap((name) => {
        const step = checkpointName.exec(name)?.[1];
        return step === undefined ? [] : [{ step: Number(step), path: `checkpoints/${name}` }];
      })
      .sort((a, b) => b.step - a.step);
  }

  /** Writes a checkpoint, and only then takes the oldest away. @throws KoalaError E_DISK, E_OUTPUT */
  async checkpoint(state: TrainingState): Promise<void> {
    const folder = join(this.path, "checkpoints");
    await writeAtomically(join(folder, `${named(state.info.step)}.safetensors`), stateFile(state));
    for (const old of (await this.checkpoints()).slice(this.run.keep)) await rm(join(this.path, old.path));
  }

  /** Adds a line to the log: a step's, or what was measured after one that has a line. @throws KoalaError E_DISK, E_OUTPUT */
  async log(line: StepRecord | Required<Pick<StepRecord, "step" | "measures">>): Promise<void> {
    const path = join(this.path, logName);
    await appendFile(path, `${JSON.stringify(line)}\n`).catch((cause: unknown) => {
      throw outputError(path, cause);
    });
  }

  /** The log's steps, each with what was measured after it; a line that a kill cut short is left out. */
  async records(): Promise<StepRecord[]> {
    const text = await readFile(join(this.path, logName), "utf8").catch(() => "");
    const records = new Map<unknown, object>();
    for (const line of text.split("\n")) {
      const part = parseObject(line);
      if (part !== null) records.set(part.step, { ...records.get(part.step), ...part });
    }
    return [...records.values()] as StepRecord[];
  }

  /** Takes the run away, all but what was computed of its data. */
  async discard(): Promise<void> {
    for (const name of await readdir(this.path))
      if (name !== cacheName) await rm(join(this.path, name), { recursive: true });
    await rmdir(this.path).catch(() => {}); // where nothing is left
  }

  /** Takes back what a killed run left after its last checkpoint: half-written files, and the log of lost steps. */
  async rewind(step: number): Promise<void> {
    const parts = (await readdir(this.modelPath).catch(() => [])).map((name) => join("model", name));
    for (const folder of ["checkpoints", "samples", "model", ...parts, "."]) {
      const names = await readdir(join(this.path, folder)).catch(() => []); // none where it is a file
      for (const name of names.filter((n) => n.startsWith(".") && n.endsWith(".tmp")))
        await rm(join(this.path, folder, name));
    }
    for (const name of await readdir(this.path))
      if (name.startsWith("model.partial-")) await rm(join(this.path, name), { recursive: true });
    const kept = (await this.records()).filter((record) => record.step <= step);
    await writeAtomically(
      join(this.path, logName),
      kept.map((record) => `${JSON.stringify(record)}\n`).join(""),
    );
  }
}

/** Folders of runs in `folder` and in the folders in it. */
export async function findRuns(folder: string): Promise<string[]> {
  await openFolder(folder);
  const isRun = (path: string): boolean => existsSync(join(path, infoName));
  if (isRun(folder)) return [folder];
  const found: string[] = [];
  const entries = await readdir(resolve(folder), { withFileTypes: true });
  for (const { name } of entries.filter((e) => e.isDirectory() && !e.name.startsWith("."))) {
    const path = join(folder, name);
    if (isRun(path)) found.push(path);
    else {
      const inner = await readdir(path).catch(() => []);
      found.push(...inner.map((n) => join(path, n)).filter(isRun));
    }
  }
  return found.sort();
}
