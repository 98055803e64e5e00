/** Runs of CLIP's encoders: from a `CLIPModel`'s folder or config.json to the task, the tokenizer and the result. */

import { resolve } from "node:path";
import { check } from "../../core/assert.ts";
import { preprocessing } from "../../eval/preprocess.ts";
import { type ClipConfig, clipConfig, towerConfigs } from "../../models/clip.ts";
import { eosRows } from "../../models/clip-text.ts";
import { type JsonObject, jsonObject } from "../../models/config.ts";
import { readTokenizer } from "../../pipeline/parts.ts";
import type { Shape } from "../../tensor/shape.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { loadTokenizer, type Tokenizer, type TokenizerFiles } from "../../text/tokenize.ts";
import { trainBpe } from "../../text/train-bpe.ts";
import type { ClipRun } from "../../train/config.ts";
import { pixelEncoder } from "../../train/data/encode.ts";
import type { Share } from "../../train/parallel.ts";
import type { Measures } from "../../train/run.ts";
import { clipParameters, clipTask, MOST_LOGIT_SCALE, type PixelNorm } from "../../train/tasks/clip.ts";
import { type ClipMeter, clipMeter } from "../../train/tasks/clip-measure.ts";
import { freshStore } from "../../train/tasks/fresh.ts";
import { checkWeights } from "../../weights/check.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { openComponent, readJson } from "../../weights/layout.ts";
import { openFolder } from "../files.ts";
import {
  type Job,
  type JobData,
  type JobOptions,
  memoryLine,
  memoryOf,
  squareOf,
  type Weights,
} from "./job.ts";
import { openModelFile } from "./json-file.ts";
import { absolute, type NewPart } from "./model-folder.ts";

/** Where a run begins. */
interface Start {
  /** Of the `CLIPModel`. */
  readonly json: JsonObject;
  readonly config: ClipConfig;
  /** null: random weights. */
  readonly store: TensorStore | null;
  /** null: learned from the captions. */
  readonly tokenizer: TokenizerFiles | null;
  readonly norm: PixelNorm;
}

const preprocessorName = "preprocessor_config.json";

/** @throws KoalaError E_CONFIG, E_MODEL, E_WEIGHTS, E_TOKENIZER, E_FILE */
async function startOf(run: ClipRun, { open }: JobOptions): Promise<Start> {
  const { model, clip, fresh } = run;
  check((model === undefined) !== (clip === undefined), "E_CONFIG", () => ({
    where: "model",
    expected: "either a CLIPModel to begin with, or clip: the config.json of a new one",
    got: model === undefined ? "neither" : "both",
  }));
  const given = run.tokenizer === undefined ? null : await readTokenizer(await openFolder(run.tokenizer), "");
  if (clip !== undefined) {
    const json = jsonObject(await openModelFile(clip), clip);
    const config = clipConfig(json, clip);
    const norm = preprocessing({}, config.vision.pictureSize, clip);
    return { json, config, store: null, tokenizer: given, norm };
  }
  const files = await open(model as string);
  const where = `${files.location}/config.json`;
  const component = await openComponent(files, "");
  const config = clipConfig(component.config, where);
  const shapes = [...clipParameters(config)].map(([name, { value }]): [string, Shape] => [name, value.shape]);
  checkWeights(component.store, new Map(shapes), {
    where: files.location,
    ignorable: [/^(text|vision)_model\.embeddings\.position_ids$/],
  });
  return {
    json: jsonObject(component.config, where),
    config,
    store: fresh ? null : component.store,
    tokenizer: given ?? (await readTokenizer(files, "")),
    norm: await pixelNorm(files, config.vision.pictureSize),
  };
}

/** How pictures become what the encoder reads: by the model's own file, or as OpenAI's CLIP where there is none. */
async function pixelNorm(files: ModelFiles, side: number): Promise<PixelNorm> {
  const has = (await files.list()).includes(preprocessorName);
  const json = has ? await readJson(files, preprocessorName) : {};
  return preprocessing(json, side, `${files.location}/${preprocessorName}`);
}

/** The run with what its model says filled in, and paths that hold from any folder. @throws KoalaError E_CONFIG */
function resolved(run: ClipRun, { config }: Start): ClipRun {
  const { pictureSize } = config.vision;
  check(run.resolution === undefined || run.resolution === pictureSize, "E_CONFIG", () => ({
    where: "resolution",
    expected: `${pictureSize} px, the size of pictures that the encoder reads`,
    got: `${run.resolution}`,
  }));
  check(run.batch > 1, "E_CONFIG", () => ({
    where: "batch",
    expected: "at least 2 pictures, each to be told from the others",
    got: `${run.batch}`,
  }));
  return {
    ...{ ...run, data: run.data.map(absolute), resolution: pictureSize },
    minSide: run.minSide ?? Math.ceil(pictureSize / 2),
    ...(run.cache === undefined ? {} : { cache: resolve(run.cache) }),
    ...(run.heldOut === undefined ? {} : { heldOut: run.heldOut.map(absolute) }),
    ...(run.model === undefined ? {} : { model: absolute(run.model) }),
    ...(run.clip === undefined ? {} : { clip: resolve(run.clip) }),
    ...(run.tokenizer === undefined ? {} : { tokenizer: resolve(run.tokenizer) }),
  };
}

/** @throws KoalaError E_CONFIG, E_MODEL, E_WEIGHTS, E_TOKENIZER, E_FILE */
export async function clipJob(given: ClipRun, o: JobOptions): Promise<Job> {
  const found = await startOf(given, o);
  const start = found.tokenizer === null ? withOwnEnds(found) : found;
  const run = resolved(given, start);
  checkShared(run, o.share);
  const { config, json, norm } = start;
  const tokenizer = new LateTokenizer(start, o.warn);
  const task = clipTask({
    ...{ config, batch: run.batch, accumulate: run.accumulate, seed: run.seed, leastCrop: run.leastCrop },
    initial: start.store ?? freshStore(clipParameters(config), run.seed),
    ...{ loader: o.loader, tokenizer, norm, share: o.share },
  });
  const threads = run.threads === undefined ? {} : { threads: run.threads };
  const judge = new Judge(() => clipMeter({ config, tokenizer, norm }, { engine: o.engine, ...threads }));
  return {
    ...{ run, task, base: null, sizes: squareOf(run), keepsFlips: true, isDrawnFromResult: false },
    part: {
      name: "",
      library: "transformers",
      files: { "config.json": json, [preprocessorName]: preprocessor(start) },
    },
    memory: memoryLine(memoryOf(task, run)),
    records: {
      ...(run.captions === undefined ? {} : { captions: run.captions }),
      ...(run.group === undefined ? {} : { group: run.group }),
    },
    heldOut: run.heldOut ?? [],
    loading: { emptyCaptions: 0, hasText: false },
    hasWholeBatches: true,
    begin: async (data) => componentsOf(start, tokenizer.begin(data)),
    encoders: async () => ({ pictures: pixelEncoder, captions: null }),
    result: async (weights) => ({ weights: withinScale(weights), config: {} }),
    sample: (_, weights, data) => judge.measure(weights, data),
    dispose: () => judge.dispose(),
  };
}

/** A picture is told from all others of its batch, so that a batch cannot be shared: the batches of a step can. */
function checkShared({ accumulate }: ClipRun, { size }: Share): void {
  check(accumulate % size === 0, "E_CONFIG", () => ({
    where: "accumulate",
    expected: `a multiple of the ${size} processes: CLIP tells the pictures of a batch from each other, so each process takes whole batches`,
    got: `${accumulate}`,
  }));
}

/** Tells how well pictures find their captions. */
class Judge {
  readonly #open: () => Promise<ClipMeter>;
  #meter: Promise<ClipMeter> | null = null;

  constructor(open: () => Promise<ClipMeter>) {
    this.#open = open;
  }

  async measure(weights: Weights, { learned, heldOut }: JobData): Promise<Measures> {
    this.#meter ??= this.#open();
    const meter = await this.#meter;
    return {
      ...(heldOut === null ? {} : { "accuracy of held-out": await meter.accuracy(heldOut, weights) }),
      "accuracy of learned": await meter.accuracy(learned, weights),
    };
  }

  async dispose(): Promise<void> {
    await (await this.#meter)?.dispose();
  }
}

/** A tokenizer that is there when the data is: it may have to be learned from the captions. */
class LateTokenizer implements Pick<Tokenizer, "encode"> {
  readonly #start: Start;
  readonly #warn: JobOptions["warn"];
  #tokenizer: Tokenizer | null = null;
  #hasWarned = false;

  constructor(start: Start, warn: JobOptions["warn"]) {
    this.#start = start;
    this.#warn = warn;
    if (start.tokenizer !== null) this.#load(start.tokenizer);
  }

  /** The tokenizer's files. @throws KoalaError E_TOKENIZER when the captions do not make as many entries as the encoder has */
  begin({ learned }: JobData): TokenizerFiles {
    const { vocabulary, positions: maxLength } = this.#start.config.text;
    const captions = function* (): Generator<string> {
      for (const sample of learned.samples) yield* sample.captions;
    };
    const files = this.#start.tokenizer ?? trainBpe(captions(), { vocabulary, maxLength });
    if (this.#tokenizer === null) this.#load(files);
    return files;
  }

  #load(files: TokenizerFiles): void {
    const { vocabulary: vocabSize, positions: contextLength, eosToken } = this.#start.config.text;
    this.#tokenizer = loadTokenizer(files, { where: "tokenizer", contextLength, vocabSize });
    // an end that is not found would make every text's vector that of its beginning
    const { ids, length } = this.#tokenizer.encode("");
    check(eosRows(ids, ids.length, eosToken)[0] === length - 1, "E_CONFIG", () => ({
      where: "text_config (eos_token_id)",
      expected: `${ids[length - 1]}, the token that ends a text`,
      got: `${eosToken}`,
    }));
  }

  encode(text: string): ReturnType<Tokenizer["encode"]> {
    const encoded = (this.#tokenizer as Tokenizer).encode(text);
    if (encoded.cut !== "" && !this.#hasWarned) {
      this.#hasWarned = true;
      const { positions } = this.#start.config.text;
      this.#warn(
        `captions of more than ${positions} tokens are not learned to their ends, such as "${text.slice(0, 40)}…": ${encoded.cut}`,
      );
    }
    return encoded;
  }
}

/** The start with the ids that a learned tokenizer gives the tokens around a text: the last two. */
function withOwnEnds(start: Start): Start {
  const { text_config, ...rest } = start.json;
  const last = start.config.text.vocabulary - 1;
  const ends = { bos_token_id: last - 1, eos_token_id: last, pad_token_id: last };
  const json: JsonObject = { ...rest, text_config: { ...jsonObject(text_config, "text_config"), ...ends } };
  return { ...start, json, config: clipConfig(json) };
}

/** Of transformers' `CLIPImageProcessor`: how pictures become what the encoder reads. */
function preprocessor({ config, norm }: Start): JsonObject {
  const side = config.vision.pictureSize;
  return {
    image_processor_type: "CLIPImageProcessor",
    ...{ do_resize: true, size: { shortest_edge: side }, resample: 3 },
    ...{ do_center_crop: true, crop_size: { height: side, width: side } },
    ...{ do_rescale: true, rescale_factor: 1 / 255, do_convert_rgb: true },
    ...{ do_normalize: true, image_mean: norm.mean, image_std: norm.std },
  };
}

/** Both encoders and what they read by, each in a folder as a pipeline of diffusers has it; and the tokenizer of the whole. */
function componentsOf(start: Start, tokenizer: TokenizerFiles): NewPart[] {
  const { text, vision } = towerConfigs(start.json, "config.json");
  const none = /^$/;
  return [
    { name: "", files: tokenizer, holds: none },
    { name: "tokenizer", files: tokenizer, holds: none },
    { name: "feature_extractor", files: { [preprocessorName]: preprocessor(start) }, holds: none },
    {
      ...{ name: "text_encoder", library: "transformers", files: { "config.json": text } },
      holds: /^text_(model|projection)\./,
    },
    {
      ...{ name: "image_encoder", library: "transformers", files: { "config.json": vision } },
      holds: /^(vision_model|visual_projection)\./,
    },
  ];
}

/** The scale as it was used: no library clamps it when it is read. */
function withinScale(weights: Weights): Weights {
  const name = "logit_scale";
  const scale = toFloat32(weights.get(name) as Tensor)[0] ?? 0;
  return new Map([...weights, [name, float32([], Float32Array.of(Math.min(scale, MOST_LOGIT_SCALE)))]]);
}
