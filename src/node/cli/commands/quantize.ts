/** `koala quantize`: a model in a quarter or an eighth of its bytes, as a folder that every command reads like any other. */

import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { parseRequest, type RequestInput } from "../../../pipeline/request.ts";
import type { Feeds } from "../../../quantize/calibrate.ts";
import { type Format, formats } from "../../../quantize/plan.ts";
import { calibrationPrompts } from "../../../quantize/prompts.ts";
import { spread } from "../../../quantize/unet.ts";
import { host } from "../../../runtime/host.ts";
import { RECIPE_FILE } from "../../../weights/recipe.ts";
import { flagOf, requestFromFlags, threadsFrom } from "../flags.ts";
import { interruptible } from "../interruptible.ts";
import { checkFree, makeNewFolder } from "../new-folder.ts";
import { type Progress, progressFor } from "../progress.ts";
import { promptLines } from "../prompt-file.ts";
import {
  openSource,
  planNetworks,
  type QuantizationReport,
  reportOf,
  TARGET_SNR,
  writeQuantized,
} from "../quantizing.ts";
import { table } from "../tables.ts";
import { bytes, seconds } from "../units.ts";
import type { GeneratorOptions, World } from "../world.ts";

interface Options {
  readonly to?: string;
  readonly calibrate?: string;
  readonly size?: string;
  readonly steps?: string;
  readonly threads?: string;
  readonly json?: true;
  readonly offline?: true;
  readonly quiet?: true;
}

/** Steps that scales are taken from, spread over all pictures and timesteps: more do not move them. */
const CALIBRATED_STEPS = 32;

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("<MODEL>", "model folder or hub id, in floats")
    .argument("<OUT>", "the folder to make; it must not be there yet")
    .option("--to <FORMAT>", `${formats.join(" or ")}: int8 is for speed, int4 for size`)
    .option("--calibrate <FILE>", "prompts to calibrate on, one a line (default: eight that come along)")
    .option("--size <WxH>", "of the calibration pictures (default: the model's own)")
    .option("--steps <N>", "of the calibration pictures (default: the model's own)")
    .option("--threads <N>", "threads that compute (default: one a core)")
    .option("--json", "print the report as one JSON object")
    .option("--offline", "use only what is on this machine")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (model: string, out: string, o: Options) => finish(await quantize(model, out, o, world)));
}

/** @throws KoalaError E_FLAG */
function formatFrom(text: string | undefined): Format {
  const format = formats.find((name) => name === text);
  check(format !== undefined, "E_FLAG", () => ({
    where: "--to",
    expected: `one of ${formats.join(", ")}`,
    got: text === undefined ? "nothing" : JSON.stringify(text),
  }));
  return format;
}

/** @throws KoalaError E_FLAG */
async function promptsFrom(path: string | undefined): Promise<readonly string[]> {
  if (path === undefined) return calibrationPrompts;
  const prompts = await promptLines(path, "--calibrate");
  check(prompts.length > 0, "E_FLAG", () => ({
    where: `--calibrate ${path}`,
    expected: "at least one prompt, one a line",
    got: "none",
  }));
  return prompts;
}

async function quantize(model: string, out: string, o: Options, world: World): Promise<number> {
  const started = performance.now();
  const format = formatFrom(o.to);
  const prompts = await promptsFrom(o.calibrate);
  const request = parseRequest({ prompt: "", ...requestFromFlags({ size: o.size, steps: o.steps }) }, flagOf);
  const threads = threadsFrom(o.threads);
  checkFree(out);
  const progress = progressFor(world.stderr, o.quiet === true);
  return interruptible(world, progress, "Stopped; nothing half-made is left.", async (signal) => {
    const opening: GeneratorOptions = {
      isOffline: o.offline === true,
      signal,
      onProgress: (file, done, total) => progress.transfer("download", file, done, total),
      ...(threads === undefined ? {} : { threads }),
    };
    const files = await world.openModel(model, opening);
    const source = await openSource(files);
    const feeds = await watchPictures(world, model, prompts, request, opening, progress);
    const planned = await planNetworks(source, {
      ...{ format, feeds, signal, engine: await host.engine("ort") },
      ...(threads === undefined ? {} : { threads }),
      onStage: (text, done, total) => progress.count(text, done, total),
    });
    const made = { ...planned, format, source, prompts: prompts.length, steps: feeds.length };
    const report = await reportOf(made, (performance.now() - started) / 1000);
    await makeNewFolder(out, report.bytes.after, async (folder) => {
      await writeQuantized(folder, made, report, (file, done) => {
        signal.throwIfAborted();
        progress.transfer("write", file, done, report.bytes.after);
      });
      signal.throwIfAborted();
    });
    progress.end();
    world.stdout.write(
      o.json === true ? `${JSON.stringify({ folder: out, ...report })}\n` : textOf(out, report),
    );
  });
}

/** Draws a picture of each prompt in floats and keeps what the U-Net was fed, at steps spread over all of them. */
async function watchPictures(
  world: World,
  model: string,
  prompts: readonly string[],
  request: RequestInput,
  opening: GeneratorOptions,
  progress: Progress,
): Promise<Feeds[]> {
  const pipeline = await world.load(model, { ...opening, engine: "ort" });
  const feeds: Feeds[] = [];
  try {
    for (const [seed, prompt] of prompts.entries()) {
      progress.count("draw", seed, prompts.length);
      const watch = (its: Feeds): void => void feeds.push(its);
      const events = pipeline.generate({ ...request, prompt, seed }, { ...signalOf(opening), watch });
      for await (const event of events) if (event.type === "warning") progress.warn(event.message);
    }
    progress.count("draw", prompts.length, prompts.length);
  } finally {
    await pipeline.dispose();
  }
  return spread(feeds, CALIBRATED_STEPS);
}

const signalOf = ({ signal }: GeneratorOptions): { signal?: AbortSignal } =>
  signal === undefined ? {} : { signal };

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function textOf(out: string, r: QuantizationReport): string {
  const rows = r.networks.map(({ name, before, after }) => [name, bytes(before), bytes(after)]);
  const share = r.integerShare === 0 ? "" : `; ${percent(r.integerShare)} of a step's arithmetic in integers`;
  const low =
    r.snr < TARGET_SNR ? `That is below the ${TARGET_SNR} dB aimed at: look at its pictures.\n` : "";
  const kept =
    r.keptOut.length === 0
      ? ""
      : `${r.keptOut.length} layers stay in a finer form: ${out}/${RECIPE_FILE} says why\n`;
  return (
    `${table([["network", "before", r.format], ...rows], [1, 2])}\n` +
    `prediction of a step: ${r.snr.toFixed(1)} dB above its error, on ${r.calibration.measured} steps of ${r.calibration.prompts} pictures${share}\n${low}` +
    kept +
    `${out}: ${bytes(r.bytes.after)} of ${bytes(r.bytes.before)}, in ${seconds(r.seconds)}\n`
  );
}
