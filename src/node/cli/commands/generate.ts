/** `koala generate`: a prompt and flags in, picture files out. */

import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { enlarge } from "../../../image/resize.ts";
import type { PipelineEvent } from "../../../pipeline/events.ts";
import { planText, vaeChoices } from "../../../pipeline/memory.ts";
import {
  curveOf,
  hasSpacing,
  maskFields,
  parseRequest,
  type Request,
  type RequestInput,
  randomSeed,
} from "../../../pipeline/request.ts";
import { type Maker, pictureText, readPictureText } from "../../../pipeline/request-text.ts";
import type { Start } from "../../../pipeline/start.ts";
import { checkWritable, writeAtomically } from "../../files.ts";
import { encodePicture, fitStart, pictureFormat, readPicture, readPictureBytes } from "../../image-file.ts";
import { readText } from "../../png-text.ts";
import { programFolder } from "../../program-folder.ts";
import {
  addRequestFlags,
  flagOf,
  loraFrom,
  memoryFrom,
  requestFromFlags,
  threadsFrom,
  vaeFrom,
} from "../flags.ts";
import { outputPaths, previewPath } from "../outputs.ts";
import { packageVersion, usualModel, usualModelName } from "../package.ts";
import { type Progress, progressFor } from "../progress.ts";
import { bytes, seconds } from "../units.ts";
import { type Generator, interrupted, type World } from "../world.ts";

interface Options {
  readonly model?: string;
  readonly base?: string;
  readonly lora?: readonly string[];
  readonly image?: string;
  readonly mask?: string;
  readonly from?: string;
  readonly engine?: string;
  readonly cache?: true;
  readonly threads?: string;
  readonly memory?: string;
  readonly vae?: string;
  readonly output?: string;
  readonly json?: true;
  readonly offline?: true;
  readonly verbose?: true;
  readonly quiet?: true;
}

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command.argument("[PROMPT]", "what to draw; in quotes");
  addRequestFlags(command);
  command
    .option(
      "--model <DIR|HUB_ID>",
      `a model folder, a checkpoint file or a hub id (default ${usualModelName}, which comes along)`,
    )
    .option(
      "--base <DIR|HUB_ID>",
      "what completes a checkpoint file: tokenizers, encoders, VAE (default: its family's model on the hub)",
    )
    .option(
      "--lora <FILE:WEIGHT>",
      "a low-rank adapter (diffusers, PEFT, kohya) to add in its weight (default 1); again for each further one",
      // no list after one flag: it would take the prompt for a file
      (one: string, before: readonly string[] = []) => [...before, one],
    )
    .option(
      "--image <FILE>",
      "a picture to start from instead of noise; without --width and --height its shape is kept, at the model's own number of pixels; with --padding-mask-crop its size too",
    )
    .option(
      "--mask <FILE>",
      "what of --image is drawn anew: a picture of its size, white there and black where it stays",
    )
    .option("--from <PNG>", "repeat the request that a picture records; other flags change it")
    .option(
      "--output <FILE>",
      "file (.png, .jpg, .webp), which is replaced, or folder; several are numbered (default koala-PROMPT-SEED.png)",
    )
    .option("--engine <NAME>", "what computes; koala engines lists them (default: the fastest that is here)")
    .option("--threads <N>", "threads that compute (default: one a core)")
    .option(
      "--memory <SIZE>",
      "what the process may take, as 6GB; a picture that is planned to need more is refused (default: what is free, as far as it goes)",
    )
    .option(
      "--vae <HOW|DIR|HUB_ID>",
      `how the picture is decoded: ${vaeChoices.join(", ")} (less memory, the same picture), tiny (TAESD: a twentieth of the time, nearly the same), or by another VAE (default auto)`,
    )
    .option(
      "--cache",
      "keep compiled programs in the user's cache folder, for a quicker second start (ort, openvino): several times the size of the model",
    )
    .option("--offline", "use only what is on this machine")
    .option("--json", "print one JSON object on stdout: files, request, timings, memory")
    .option("--verbose", "say more, and where an error comes from")
    .option("--quiet", "say nothing but errors and file names")
    .action(async (prompt: string | undefined, options: Options) =>
      finish(await generate(prompt, options, world)),
    );
}

/** What to draw and with what, before any model is touched. */
async function readRequest(
  prompt: string | undefined,
  o: Options,
): Promise<{ input: RequestInput; model: string; missing: readonly string[] }> {
  const flags = requestFromFlags({ ...o });
  const recorded =
    o.from === undefined
      ? undefined
      : readPictureText(readText(await readPictureBytes(o.from), o.from), o.from);
  check(prompt !== undefined || recorded !== undefined, "E_FLAG", () => ({
    where: "koala generate",
    expected: "PROMPT",
    got: "nothing",
    hint: 'For example: koala generate "a red apple"',
  }));
  const input = parseRequest(
    { seed: randomSeed(), ...recorded?.request, ...flags, prompt: prompt ?? recorded?.request.prompt },
    flagOf,
  );
  check(
    o.model !== undefined || recorded?.model === undefined || recorded.model === usualModelName,
    "E_FLAG",
    () => ({
      where: "--model",
      expected: `the model of ${o.from}, which is ${recorded?.model}`,
      got: "nothing",
      hint: `If that is a hub id: --model ${recorded?.model}`, // a picture does not get to choose what is downloaded
    }),
  );
  check(o.lora !== undefined || recorded?.loras === undefined, "E_FLAG", () => ({
    where: "--lora",
    expected: `the LoRAs of ${o.from}: ${recorded?.loras?.join(", ")}`,
    got: "nothing",
    hint: "Name their files, each with its weight: --lora FILE:WEIGHT",
  }));
  check(input.strength === undefined || o.image !== undefined, "E_FLAG", () => ({
    where: "--image",
    expected:
      recorded?.request.strength === undefined
        ? "a picture, beside --strength"
        : `the picture that ${o.from} was started from`,
    got: "nothing",
  }));
  for (const key of maskFields)
    check(input[key] === undefined || o.mask !== undefined, "E_FLAG", () => ({
      where: "--mask",
      expected:
        recorded?.request[key] === undefined
          ? `a mask of what is drawn anew, beside ${flagOf(key)}`
          : `the mask that ${o.from} was drawn with`,
      got: "nothing",
    }));
  return { input, model: o.model ?? usualModel, missing: recorded?.missing ?? [] };
}

/** The files to start from, both of one size. @throws KoalaError E_FILE, E_IMAGE, E_FLAG */
async function readStart({ image: imageFile, mask: maskFile }: Options): Promise<Start> {
  check(maskFile === undefined || imageFile !== undefined, "E_FLAG", () => ({
    where: "--image",
    expected: "the picture that --mask is for",
    got: "nothing",
  }));
  if (imageFile === undefined) return {};
  const image = await readPicture(imageFile);
  if (maskFile === undefined) return { image };
  const mask = await readPicture(maskFile);
  check(mask.width === image.width && mask.height === image.height, "E_FLAG", () => ({
    where: "--mask",
    expected: `${image.width} x ${image.height} px, the size of ${imageFile}`,
    got: `${mask.width} x ${mask.height} px`,
  }));
  return { image, mask };
}

/** The request with the size that is drawn, and what it starts from: at that size, or where a part of it is drawn as it is. */
async function withStart(
  input: RequestInput,
  given: Start,
  generator: Generator,
): Promise<{ request: Request; start: Start }> {
  if (given.image === undefined) return { request: generator.resolve(input), start: {} };
  // what is drawn is cut out of it, and made of the request's size, where the mask is
  if (input.paddingMaskCrop !== undefined) return { request: generator.resolve(input, given), start: given };
  const size = generator.sizeLike(given.image, input);
  const start = await fitStart(given, size);
  return { request: generator.resolve({ ...input, ...size }, start), start };
}

/** What a picture may record of where its model is: a hub id, or a folder's own name. */
const modelName = (location: string): string =>
  existsSync(location) ? basename(resolve(location)) : location;

/** "10 steps, euler trailing, guidance 3.5, 1024 x 1024, seed 7". */
function describe(r: Request): string {
  const pictures =
    r.count === 1 ? `seed ${r.seed}` : `${r.count} pictures, seeds ${r.seed} to ${r.seed + r.count - 1}`;
  const spacing = r.timesteps?.join(",") ?? curveOf(r) ?? r.spacing;
  const sampler = hasSpacing(r.scheduler) || r.timesteps ? `${r.scheduler} ${spacing}` : r.scheduler;
  const steps = r.strength === undefined ? `${r.steps} steps` : `${r.steps} steps at strength ${r.strength}`;
  const where = r.paddingMaskCrop === undefined ? "" : " around the mask";
  return `${steps}, ${sampler}, guidance ${r.guidance}, ${r.width} x ${r.height}${where}, ${pictures}`;
}

/** Seconds spent in each phase, by the events that begin them. */
class Stopwatch {
  readonly spent: Record<string, number> = {};
  private phase = "load";
  private sinceMs = performance.now();

  enter(phase: string): void {
    const nowMs = performance.now();
    this.spent[this.phase] = (this.spent[this.phase] ?? 0) + (nowMs - this.sinceMs) / 1000;
    this.phase = phase;
    this.sinceMs = nowMs;
  }
}

interface WrittenFile {
  readonly file: string;
  readonly seed: number;
}

interface Run {
  readonly request: Request;
  readonly start: Start;
  readonly maker: Maker;
  readonly paths: readonly string[];
  readonly progress: Progress;
  readonly stopwatch: Stopwatch;
  readonly warnings: string[];
  readonly files: WrittenFile[];
  /** Files of rough pictures by the index of the picture, to be taken away at the end. */
  readonly previews: Map<number, string>;
}

async function writePreview(run: Run, event: PipelineEvent & { type: "preview" }): Promise<void> {
  const path = run.previews.get(event.index) ?? previewPath(run.paths[event.index] ?? "");
  if (run.previews.size === 0) run.progress.note(`preview in ${path}`);
  run.previews.set(event.index, path);
  const large = enlarge(event.picture, run.request.width, run.request.height);
  await writeAtomically(path, await encodePicture(large, "png"));
}

async function writePicture(run: Run, event: PipelineEvent & { type: "image" }): Promise<void> {
  const file = run.paths[event.index] ?? "";
  const texts = pictureText(event.request, run.maker);
  await writeAtomically(file, await encodePicture(event.picture, pictureFormat(file), texts));
  run.files.push({ file, seed: event.seed });
}

async function draw(generator: Generator, run: Run, signal: AbortSignal): Promise<void> {
  const stepEndsMs: number[] = [];
  for await (const event of generator.generate(run.request, { signal, ...run.start })) {
    switch (event.type) {
      case "stage":
        run.stopwatch.enter(event.stage);
        run.progress.stage(event.stage, event.detail);
        break;
      case "step": {
        stepEndsMs.push(performance.now());
        const recent = stepEndsMs.slice(-8); // by the clock, previews included; early steps touch fresh memory and are slow
        const span = ((recent.at(-1) ?? 0) - (recent[0] ?? 0)) / 1000;
        const mean = recent.length === 1 ? event.seconds : span / (recent.length - 1);
        const done = event.index * event.steps + event.step;
        const all = run.request.count * event.steps;
        run.progress.step(done, all, mean * (all - done));
        break;
      }
      case "preview":
        await writePreview(run, event);
        break;
      case "warning":
        run.warnings.push(event.message);
        run.progress.warn(event.message);
        break;
      case "image":
        await writePicture(run, event);
        break;
    }
  }
  run.stopwatch.enter("end");
}

/** Everything about a run that is over, for `--json`. */
function report(run: Run, generator: Generator): Record<string, unknown> {
  const timings = Object.fromEntries(
    Object.entries(run.stopwatch.spent).map(([phase, s]) => [`${phase}Seconds`, round(s)]),
  );
  return {
    files: run.files,
    isComplete: run.files.length === run.request.count,
    request: run.request,
    model: { name: run.maker.model, family: generator.family },
    engine: generator.engineName,
    timings: { ...timings, totalSeconds: round(process.uptime()) },
    peakMemoryBytes: peakBytes(),
    plannedMemoryBytes: generator.plan(run.request).peak,
    warnings: run.warnings,
    version: run.maker.version,
  };
}

/** The pictures that are made, all or those before what ended the run. */
function tell(run: Run, generator: Generator, o: Options, world: World): void {
  if (o.json) world.stdout.write(`${JSON.stringify(report(run, generator))}\n`);
  else for (const { file } of run.files) world.stdout.write(`${file}\n`);
}

const round = (s: number): number => Math.round(s * 1000) / 1000;
const peakBytes = (): number => process.resourceUsage().maxRSS * 1024; // Node gives kB on every system

async function generate(prompt: string | undefined, o: Options, world: World): Promise<number> {
  const { input, model, missing } = await readRequest(prompt, o);
  const given = await readStart(o);
  const threads = threadsFrom(o.threads);
  const { precision } = input;
  const memory = memoryFrom(o.memory);
  const vae = vaeFrom(o.vae);
  const loras = (o.lora ?? []).map(loraFrom);
  const paths = outputPaths(o.output, input.prompt, input.seed ?? 0, input.count ?? 1);
  for (const path of paths) await checkWritable(path);

  const progress = progressFor(world.stderr, o.quiet === true);
  const stop = new AbortController();
  const ignoreInterrupt = world.onInterrupt(() => {
    progress.note(
      "stops after this step, with the pictures that are done by then; a second Ctrl-C ends at once",
    );
    stop.abort();
  });
  const stopwatch = new Stopwatch();
  const warnings: string[] = [];
  const previews = new Map<number, string>();
  if (missing.length > 0) {
    const warning = `${o.from} was drawn with ${missing.join(", ")}, which is not done here: another picture`;
    warnings.push(warning);
    progress.warn(warning);
  }
  let generator: Generator | undefined;
  let run: Run | undefined;
  try {
    progress.stage("load", modelName(model));
    generator = await world.load(model, {
      ...(o.engine === undefined ? {} : { engine: o.engine }),
      ...(precision === undefined ? {} : { precision }),
      ...(memory === undefined ? {} : { memory }),
      ...vae,
      freeBytes: process.availableMemory(),
      ...(o.cache === true ? { cache: programFolder() } : {}),
      ...(threads === undefined ? {} : { threads }),
      ...(o.base === undefined ? {} : { base: o.base }),
      ...(loras.length === 0 ? {} : { loras }),
      isOffline: o.offline === true,
      signal: stop.signal,
      log: {
        warn(message) {
          warnings.push(message);
          progress.warn(message);
        },
        debug(message) {
          if (o.verbose) progress.note(message);
        },
      },
      onProgress: (file, done, total) => progress.transfer("download", file, done, total),
    });
    const { request, start } = await withStart(input, given, generator);
    const maker: Maker = {
      ...{ model: modelName(model), version: packageVersion() },
      ...(loras.length === 0
        ? {}
        : { loras: loras.map(({ location, weight }) => `${basename(location)}:${weight}`) }),
    };
    const reason = generator.engineReason === undefined ? "" : `: ${generator.engineReason}`;
    progress.note(`${maker.model} (${generator.family}) on ${generator.engineName}${reason}`);
    progress.note(describe(request));
    const plan = generator.plan(request);
    if (o.verbose || memory !== undefined) progress.note(planText(plan));
    run = { request, start, maker, paths, progress, stopwatch, warnings, files: [], previews };
    await draw(generator, run, stop.signal);
    stop.signal.throwIfAborted();
    progress.end();
    tell(run, generator, o, world);
    const spent = ["load", "text", "encode", "denoise", "decode"].flatMap((phase) =>
      stopwatch.spent[phase] === undefined ? [] : `${phase} ${seconds(stopwatch.spent[phase])}`,
    );
    progress.note(`${seconds(process.uptime())} (${spent.join(", ")}), peak ${bytes(peakBytes())}`);
    return 0;
  } catch (error) {
    progress.end();
    const { aborted } = stop.signal;
    // with --json an error is the one object that is printed
    if (run !== undefined && generator !== undefined && (aborted || o.json !== true))
      tell(run, generator, o, world);
    if (!aborted) throw error;
    progress.note("Stopped; nothing half-made is left.");
    return interrupted;
  } finally {
    ignoreInterrupt();
    for (const path of previews.values()) await rm(path, { force: true });
    await generator?.dispose();
  }
}
