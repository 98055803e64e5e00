/** Runs of denoisers: from a model's folder and a run's fields to the task, the data and the result's shape. */

import { resolve } from "node:path";
import { check } from "../../core/assert.ts";
import { defaultsFor } from "../../models/detect.ts";
import { vaeFactor } from "../../models/vae.ts";
import { type Model, openDrawable } from "../../pipeline/model.ts";
import type { DenoiserSize } from "../../pipeline/networks.ts";
import type {
  ConsistencyRun,
  DenoiserRun,
  DistillRun,
  PromptedRun,
  TransformerRun,
  UNetRun,
} from "../../train/config.ts";
import type { Size } from "../../train/data/buckets.ts";
import {
  encodedAtATime,
  openVaeEncoder,
  picturesAtATime,
  textCaptionEncoder,
  type VaeEncoderPart,
  vaePictureEncoder,
} from "../../train/data/encode.ts";
import { noStore } from "../../train/flat.ts";
import { buildNetwork, checkNetwork, type Network } from "../../train/networks/network.ts";
import { openNetwork } from "../../train/networks/open.ts";
import type { Weighting } from "../../train/objective.ts";
import { denoiserTask } from "../../train/tasks/denoiser.ts";
import { freshStore } from "../../train/tasks/fresh.ts";
import type { LatentOptions, NoisedOptions } from "../../train/tasks/noised.ts";
import { type TrainingNoise, trainingNoise } from "../../train/tasks/schedule.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { fingerprint } from "../data/hash.ts";
import type { PrepareOptions } from "../data/prepare.ts";
import { adaptedResult, checkLora, loraOf, notLora } from "./adapted.ts";
import {
  checkSide,
  type Job,
  type JobOptions,
  memoryLine,
  memoryOf,
  type OpenModel,
  ownBatch,
  sizesOf,
} from "./job.ts";
import { openModelFile } from "./json-file.ts";
import { absolute, indexOf, type NewPart } from "./model-folder.ts";
import { drawSamples, samplePrompts } from "./samples.ts";

/** A model folder, open, and what is read off it. */
export interface Base {
  readonly files: ModelFiles;
  readonly model: Model;
  /** Its denoiser. */
  readonly network: Network;
  readonly vae: VaeEncoderPart;
  /** What the model draws where nobody says: side in pixels. */
  readonly resolution: number;
  readonly prediction: string;
}

/**
 * The model in `location`; of a denoiser that begins anew (`isFresh`) only the shape counts, whatever its weights are.
 * @throws KoalaError E_MODEL, E_CONFIG, E_WEIGHTS, E_FILE
 */
export async function openBase(
  location: string,
  open: OpenModel,
  warn: (line: string) => void,
  isFresh = false,
): Promise<Base> {
  const files = await open(location);
  await indexOf(files);
  const model = await openDrawable(files, { openBase: open, warn });
  const { name, json, store, isToldGuidance } = model.denoiser;
  const network = openNetwork(name, json, store, `${files.location}/${name}/config.json`);
  if (!isFresh) checkNetwork(network, location);
  const vae = await openVaeEncoder(files);
  const { width, prediction } = defaultsFor({
    location,
    modelIndex: model.index,
    [name]: json,
    scheduler: model.scheduler,
    factor: model.vae.factor,
  });
  check(!isToldGuidance, "E_MODEL", () => ({
    where: location,
    expected: "a U-Net that learns without a teacher's guidance",
    got: "one that is told the guidance (LCM)",
  }));
  return { files, model, network, vae, resolution: width, prediction };
}

/**
 * Encoders of the data by the model's own parts, and under which names their results are kept; `sizes` are those that
 * pictures are brought to.
 */
async function encodersOf(
  { model, vae }: Base,
  sizes: readonly Size[],
  threads: number | undefined,
  { engine, warn }: Pick<JobOptions, "engine" | "warn">,
): Promise<Pick<PrepareOptions, "pictures" | "captions">> {
  const o = { engine, dtype: "float16", ...(threads === undefined ? {} : { threads }) } as const;
  const encoderNames = [...vae.store.tensors.keys()].filter((name) => /^(encoder|quant_conv)\./.test(name));
  const texts: string[] = [];
  for (const { store, tokenizer, config } of model.texts)
    texts.push(await fingerprint(store, store.tensors.keys()), JSON.stringify([tokenizer.maxLength, config]));
  return {
    pictures: vaePictureEncoder(vae, {
      ...o,
      batch: picturesAtATime(sizes),
      fingerprint: `${await fingerprint(vae.store, encoderNames)} ${JSON.stringify(vae.config)}`,
    }),
    captions: textCaptionEncoder(
      model,
      { ...o, batch: encodedAtATime, fingerprint: texts.join(" ") },
      (caption, lost) =>
        warn(
          `the caption "${caption.slice(0, 40)}…" is too long for the text encoder; its end is not learned: ${lost}`,
        ),
    ),
  };
}

/** Pixels that sides are a multiple of: latent cells, and patches where the network has them. */
const cellOf = ({ vae, network }: Base): number => vaeFactor(vae.config) * network.unit;

/** Sides of a request for a picture are multiples of it. */
const SAMPLE_UNIT = 8;

/** The run with what its model says filled in, and paths that hold from any folder. @throws KoalaError E_CONFIG */
export function resolved<R extends PromptedRun>(run: R, base: Base): R {
  const resolution = run.resolution ?? base.resolution;
  checkSide("resolution", resolution, cellOf(base), base.network.unit === 1 ? "latent cell" : "patch");
  check(run.sampleEvery === 0 || resolution % SAMPLE_UNIT === 0, "E_CONFIG", () => ({
    where: "resolution",
    expected: `a multiple of ${SAMPLE_UNIT} px, as sides of drawn samples are`,
    got: `${resolution}`,
    hint: "--sample-every 0 draws none.",
  }));
  return {
    ...run,
    data: run.data.map(absolute),
    resolution,
    minSide: run.minSide ?? Math.ceil(resolution / 2),
    ...(run.cache === undefined ? {} : { cache: resolve(run.cache) }),
  };
}

/** What runs of all denoisers do alike. */
export function denoiserJob(
  run: UNetRun | TransformerRun | DistillRun | ConsistencyRun,
  base: Base,
  o: JobOptions,
): Omit<Job, "task" | "part" | "memory"> {
  const sizes = sizesOf(run, vaeFactor(base.vae.config));
  return {
    run,
    base: base.files,
    records: {
      ...(run.captions === undefined ? {} : { captions: run.captions }),
      ...(run.group === undefined ? {} : { group: run.group }),
    },
    heldOut: [],
    sizes,
    keepsFlips: true,
    loading: { emptyCaptions: run.emptyCaptions, hasText: true },
    encoders: () => encodersOf(base, sizes, run.threads, o),
    result: async (weights) => ({ weights, config: {} }),
    isDrawnFromResult: true,
    async sample({ sheet, model, watch }, _, { learned }) {
      const prompts = samplePrompts(run, learned.samples);
      await drawSamples(model, sheet, run, prompts, (done) => watch.phase("samples", done, prompts.length));
      return {};
    },
    dispose: async () => {},
  };
}

/** @throws KoalaError E_CONFIG for a batch that the processes cannot share */
export const sizeOf = (run: PromptedRun, { vae, model }: Base, { share }: JobOptions): DenoiserSize => {
  const side = (run.resolution ?? 0) / vaeFactor(vae.config);
  const tokens = model.texts[0]?.tokenizer.maxLength ?? 0;
  return { batch: ownBatch(run, share), height: side, width: side, tokens };
};

export function dataOf(run: DenoiserRun, base: Base, network: Network, o: JobOptions): NoisedOptions {
  return {
    ...noiseOf(base),
    ...latentsOf(run, base, network, o),
    weighting: weightingOf(run),
    noiseOffset: run.noiseOffset,
  };
}

const weightingOf = ({ weighting, minSnr }: DenoiserRun): Weighting =>
  weighting === "debiased"
    ? { kind: "debiased" }
    : minSnr === 0
      ? { kind: "uniform" }
      : { kind: "min-snr", gamma: minSnr };

/** What the model was trained under. */
export const noiseOf = ({ model, prediction }: Base): TrainingNoise =>
  trainingNoise({ ...model.scheduler, prediction_type: prediction }, model.schedulerPath);

export const latentsOf = (
  run: PromptedRun,
  base: Base,
  network: Network,
  { loader }: JobOptions,
): LatentOptions => ({
  ...{ loader, network, vae: base.vae.config, seed: run.seed },
  hasSizes: run.buckets,
  hasZeroForEmpty: base.model.isXL && base.model.hasZeroForEmpty,
});

/** @throws KoalaError E_CONFIG, E_FILE, E_WEIGHTS */
export async function trainJob(given: UNetRun | TransformerRun, o: JobOptions): Promise<Job> {
  const shape = shapeOf(given);
  const isFresh = given.fresh || shape !== undefined;
  const base = await openBase(given.model, o.open, o.warn, isFresh);
  checkKind(given, base);
  const run = {
    ...{ ...resolved(given, base), model: absolute(given.model) },
    ...(shape === undefined ? {} : { [given.kind]: resolve(shape) }),
  };
  const network = shape === undefined ? base.network : await otherNetwork(resolve(shape), base);
  const size = sizeOf(run, base, o);
  const initial = isFresh ? freshStore(buildNetwork(network, size).parameters, run.seed) : network.store;
  const data = dataOf(run, base, network, o);
  const lora = loraOf(run, network);
  const task = denoiserTask({
    ...{ network, size, initial, data, accumulate: run.accumulate },
    ...(lora && { lora }),
  });
  checkLora(task.weights, run, network);
  return {
    ...denoiserJob(run, base, o),
    ...(lora === undefined ? {} : adaptedResult(network, initial)),
    ...(isFresh && {
      note: `begins with random weights${shape === undefined ? "" : ` in the shape of ${shape}`}, not with those of ${given.model}`,
    }),
    task,
    part: partOf(network, {}, lora === undefined ? {} : { holds: notLora }),
    memory: memoryLine(memoryOf(task, run, sizesOf(run, vaeFactor(base.vae.config)))),
  };
}

/** The config.json of another shape than the model's, where the run names one. */
const shapeOf = (run: UNetRun | TransformerRun): string | undefined =>
  run.kind === "unet" ? run.unet : run.transformer;

/** @throws KoalaError E_MODEL when the model draws with another kind of network than the run trains */
function checkKind({ kind, model }: UNetRun | TransformerRun, { network }: Base): void {
  check(network.name === kind, "E_MODEL", () => ({
    where: model,
    expected: `a model with a ${kind === "unet" ? "U-Net" : kind}`,
    got: `one with a ${network.title}`,
    hint: `koala train --part ${network.name} trains it.`,
  }));
}

/** A network of another shape, without weights. @throws KoalaError E_CONFIG when it does not fit the model's other parts */
async function otherNetwork(path: string, base: Base): Promise<Network> {
  const other = openNetwork(base.network.name, await openModelFile(path), noStore, path);
  checkReads(path, other, base);
  return other;
}

/** The network as a component of the result. */
export const partOf = (
  { name, json }: Network,
  files: NewPart["files"] = {},
  more: Partial<NewPart> = {},
): NewPart => ({ name, files: { "config.json": json, ...files }, ...more });

/** Holds that a network of another shape fits the model's other parts. */
export function checkReads(where: string, own: Network, { network }: Base): void {
  check(own.facts === network.facts, "E_CONFIG", () => ({
    where,
    expected: `a ${network.title} for the model's other parts: ${network.facts}`,
    got: own.facts,
  }));
}
