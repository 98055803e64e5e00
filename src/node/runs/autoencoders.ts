/** Runs of autoencoders: from a model's folder or a config.json to the task, the measure of pictures and the result. */

import { resolve } from "node:path";
import { check } from "../../core/assert.ts";
import { grid } from "../../image/grid.ts";
import { type Picture, toPictures } from "../../image/pixels.ts";
import { type VaeConfig, vaeConfig, vaeFactor } from "../../models/vae.ts";
import { castFloat, type Tensor } from "../../tensor/tensor.ts";
import type { VaeRun } from "../../train/config.ts";
import { pixelEncoder } from "../../train/data/encode.ts";
import { type PreparedData, pictureBatch } from "../../train/data/loader.ts";
import type { Measures } from "../../train/run.ts";
import { freshVae, vaeParameters, vaeTask } from "../../train/tasks/vae.ts";
import { LatentSums, psnr, scaled, type VaeMeter, vaeMeter } from "../../train/tasks/vae-measure.ts";
import { checkWeights } from "../../weights/check.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { type Component, openComponent, readModelIndex } from "../../weights/layout.ts";
import { writeAtomically } from "../files.ts";
import { encodePicture } from "../image-file.ts";
import {
  checkSide,
  type Job,
  type JobData,
  type JobOptions,
  memoryLine,
  memoryOf,
  ownBatch,
  type SamplePlace,
  squareOf,
  type Weights,
} from "./job.ts";
import { openModelFile } from "./json-file.ts";
import { absolute, indexOf } from "./model-folder.ts";
import { columnsOf } from "./samples.ts";

/** Pictures of a set that are measured at each sheet: their mean PSNR is known to about half a decibel. */
const measuredPictures = 64;
/** Pictures by which latents are measured at the end: at 32 x 32 cells more than a million numbers a channel. */
const latentPictures = 2048;
/** Pictures a run of the programs that measure. */
const meterBatch = 4;

/** Where a run begins. */
interface Start {
  /** The folder of the other parts; null: there are none. */
  readonly files: ModelFiles | null;
  /** Of the VAE that is trained. */
  readonly json: unknown;
  readonly config: VaeConfig;
  /** null: random weights. */
  readonly store: Component["store"] | null;
}

/** @throws KoalaError E_CONFIG, E_MODEL, E_WEIGHTS, E_FILE */
async function startOf({ model, vae, fresh }: VaeRun, { open }: JobOptions): Promise<Start> {
  check(model !== undefined || vae !== undefined, "E_CONFIG", () => ({
    where: "model",
    expected: "a model to begin with, or vae: the config.json of a new one",
    got: "neither",
  }));
  const own = vae === undefined ? null : { json: await openModelFile(vae), where: vae };
  if (model === undefined) {
    const { json, where } = own as NonNullable<typeof own>;
    return { files: null, json, config: vaeConfig(json, where), store: null };
  }
  const opened = await open(model);
  const isAlone = (await readModelIndex(opened)) === null && (await opened.list()).includes("config.json");
  const files = isAlone ? null : opened;
  if (files !== null) await indexOf(files);
  const where = isAlone ? opened.location : `${opened.location}/vae`;
  const component = await openComponent(opened, isAlone ? "" : "vae");
  const config = vaeConfig(component.config, `${where}/config.json`);
  if (own === null) {
    if (fresh) return { files, json: component.config, config, store: null };
    const shapes = [...vaeParameters(config)].map(([name, { value }]) => [name, value.shape] as const);
    checkWeights(component.store, new Map(shapes), { where });
    return { files, json: component.config, config, store: component.store };
  }
  const other = vaeConfig(own.json, own.where);
  const facts = (c: VaeConfig): string =>
    `${c.latentChannels} channels of latents, cells of ${vaeFactor(c)} px`;
  check(facts(other) === facts(config), "E_CONFIG", () => ({
    where: own.where,
    expected: `a VAE for the model's other parts: ${facts(config)}`,
    got: facts(other),
    hint: "Without model the VAE is trained alone.",
  }));
  return { files, json: own.json, config: other, store: null };
}

/** The run with what its VAE says filled in, and paths that hold from any folder. @throws KoalaError E_CONFIG */
function resolved(run: VaeRun, { config, store }: Start): VaeRun {
  const cell = vaeFactor(config);
  const resolution = run.resolution ?? config.sampleSize ?? 0;
  check(resolution > 0, "E_CONFIG", () => ({
    where: "resolution",
    expected: "the side of the pictures in px, since the VAE's config.json has no sample_size",
    got: "nothing",
  }));
  checkSide("resolution", resolution, cell);
  const patch = run.patch ?? resolution;
  checkSide("patch", patch, cell);
  check(patch <= resolution, "E_CONFIG", () => ({
    where: "patch",
    expected: `at most the resolution, ${resolution} px`,
    got: `${patch}`,
  }));
  const latents = run.latents ?? (store === null ? "measure" : "keep");
  check(!run.decoderOnly || store !== null, "E_CONFIG", () => ({
    where: "decoderOnly",
    expected: "an encoder that has learned, to be left as it is",
    got: "random weights",
  }));
  check(!run.decoderOnly || latents === "keep", "E_CONFIG", () => ({
    where: "latents",
    expected: "keep where only the decoder is trained",
    got: latents,
  }));
  return {
    ...{ ...run, data: run.data.map(absolute), resolution, patch, latents },
    minSide: run.minSide ?? Math.ceil(resolution / 2),
    ...(run.heldOut === undefined ? {} : { heldOut: run.heldOut.map(absolute) }),
    ...(run.cache === undefined ? {} : { cache: resolve(run.cache) }),
    ...(run.model === undefined ? {} : { model: absolute(run.model) }),
    ...(run.vae === undefined ? {} : { vae: resolve(run.vae) }),
  };
}

/** @throws KoalaError E_CONFIG, E_MODEL, E_WEIGHTS, E_FILE */
export async function vaeJob(given: VaeRun, o: JobOptions): Promise<Job> {
  const start = await startOf(given, o);
  const { config } = start;
  const run = resolved(given, start);
  const task = vaeTask({
    ...{ config, batch: ownBatch(run, o.share), accumulate: run.accumulate },
    ...{ loader: o.loader, seed: run.seed },
    patch: { side: run.patch ?? 0, hasFlips: run.flips },
    initial: start.store ?? freshVae(config, run.seed, run.logVariance),
    factors: { l1: run.l1Weight, l2: run.l2Weight, edges: run.edgeWeight, kl: run.klWeight },
    isDecoderOnly: run.decoderOnly,
  });
  const kept = await keptWeights(run, start);
  const whole = (weights: Weights): Weights => new Map([...kept, ...weights]);
  const judge = new Judge(run, config, o);
  return {
    ...{ run, task, base: start.files, sizes: squareOf(run), keepsFlips: false, isDrawnFromResult: false },
    part: { name: start.files === null ? "" : "vae", files: { "config.json": start.json } },
    memory: memoryLine(memoryOf(task, run)),
    records: {
      captions: [],
      isCaptionOptional: true,
      ...(run.group === undefined ? {} : { group: run.group }),
    },
    heldOut: run.heldOut ?? [],
    loading: { emptyCaptions: 0, hasText: false },
    encoders: async () => ({ pictures: pixelEncoder, captions: null }),
    result: (weights, data) => judge.result(whole(weights), data),
    sample: (place, weights, data) => judge.sample(place, whole(weights), data),
    dispose: () => judge.dispose(),
  };
}

/** What is not trained, and goes into the result as it is. */
async function keptWeights({ decoderOnly }: VaeRun, { config, store }: Start): Promise<Weights> {
  const kept = new Map<string, Tensor>();
  if (!decoderOnly || store === null) return kept;
  for (const name of vaeParameters(config).keys())
    if (/^(encoder|quant_conv)\./.test(name)) kept.set(name, castFloat(await store.read(name), "float32"));
  return kept;
}

/** Pictures of a set, spread evenly, as batches with the number of those in each that count. */
async function* batchesOf(
  data: PreparedData,
  most: number,
): AsyncGenerator<{ readonly pictures: Tensor; readonly count: number }> {
  const count = Math.min(most, data.samples.length);
  const chosen = Array.from(
    { length: count },
    (_, i) => data.samples[Math.floor((i * data.samples.length) / count)] as PreparedData["samples"][number],
  );
  for (let i = 0; i < count; i += meterBatch) {
    const part = chosen.slice(i, i + meterBatch);
    const tensors = await Promise.all(
      Array.from({ length: meterBatch }, (_, j) =>
        data.picture(part[j] ?? (part[0] as (typeof chosen)[0]), 0),
      ),
    );
    yield { pictures: pictureBatch(tensors), count: part.length };
  }
}

/** Looks at what the VAE makes of pictures. */
class Judge {
  readonly #run: VaeRun;
  readonly #config: VaeConfig;
  readonly #o: JobOptions;
  #meter: Promise<VaeMeter> | null = null;

  constructor(run: VaeRun, config: VaeConfig, o: JobOptions) {
    this.#run = run;
    this.#config = config;
    this.#o = o;
  }

  /** Made when it is first asked for. */
  #open(): Promise<VaeMeter> {
    const { resolution: side = 0, threads } = this.#run;
    const { engine } = this.#o;
    this.#meter ??= vaeMeter(
      this.#config,
      { batch: meterBatch, height: side, width: side },
      { engine, ...(threads === undefined ? {} : { threads }) },
    );
    return this.#meter;
  }

  /** Originals, each with what becomes of it on its right: held-out ones where there are any. */
  async sample({ sheet, watch }: SamplePlace, weights: Weights, data: JobData): Promise<Measures> {
    const { sampleCount } = this.#run;
    const shown = data.heldOut ?? data.learned;
    const pairs: Picture[] = [];
    for await (const [original, made] of this.#pairs(shown, sampleCount, weights)) {
      pairs.push(original, made);
      watch.phase("samples", pairs.length / 2, Math.min(sampleCount, shown.samples.length));
    }
    const columns = 2 * columnsOf(pairs.length / 2);
    await writeAtomically(sheet, await encodePicture(grid(pairs, columns), "png", {}));
    return {
      ...(data.heldOut === null ? {} : { "psnr of held-out": await this.#psnr(data.heldOut, weights) }),
      "psnr of learned": await this.#psnr(data.learned, weights),
    };
  }

  async *#pairs(
    data: PreparedData,
    most: number,
    weights: Weights,
  ): AsyncGenerator<readonly [original: Picture, made: Picture]> {
    const meter = await this.#open();
    for await (const { pictures, count } of batchesOf(data, most)) {
      const originals = toPictures(pictures);
      const made = await meter.reconstruct(pictures, weights);
      for (let i = 0; i < count; i++) yield [originals[i] as Picture, made[i] as Picture];
    }
  }

  /** The mean over pictures, in dB. */
  async #psnr(data: PreparedData, weights: Weights): Promise<number> {
    let [sum, count] = [0, 0];
    for await (const [original, made] of this.#pairs(data, measuredPictures, weights)) {
      sum += psnr(original, made);
      count++;
    }
    return sum / count;
  }

  /** The weights as they go into the result, and what its config says of its latents. */
  async result(weights: Weights, { learned }: JobData): ReturnType<Job["result"]> {
    if (this.#run.latents === "keep") return { weights, config: {} };
    const meter = await this.#open();
    const sums = new LatentSums(this.#config.latentChannels);
    for await (const { pictures, count } of batchesOf(learned, latentPictures))
      sums.add(await meter.moments(pictures, weights), count);
    return scaled(weights, this.#config, sums.facts());
  }

  async dispose(): Promise<void> {
    await (await this.#meter)?.dispose();
  }
}
