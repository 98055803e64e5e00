/**
 * The judge of pictures: a CLIP, whose two towers put pictures and texts into one space.
 * A transformers `CLIPModel` folder is read as it lies: config.json with a config for each tower, weights under
 * `text_model.` and `vision_model.`, a tokenizer, and preprocessor_config.json.
 */

import { check } from "../core/assert.ts";
import { compile } from "../engine/compile.ts";
import type { Value } from "../graph/op.ts";
import type { Picture } from "../image/pixels.ts";
import type { Built } from "../models/built.ts";
import { towerConfigs } from "../models/clip.ts";
import { buildClipText, type ClipTextConfig, clipTextConfig, eosRows } from "../models/clip-text.ts";
import {
  buildClipVision,
  type ClipVisionConfig,
  clipVisionConfig,
  clipVisionInputs,
} from "../models/clip-vision.ts";
import { type JsonObject, jsonObject } from "../models/config.ts";
import { readTokenizer } from "../pipeline/parts.ts";
import { Stage } from "../pipeline/stage.ts";
import type { Engine } from "../runtime/session.ts";
import { int64, type Tensor, tensor, toFloat32 } from "../tensor/tensor.ts";
import { loadTokenizer } from "../text/tokenize.ts";
import { checkWeights } from "../weights/check.ts";
import type { ModelFiles } from "../weights/files.ts";
import { openComponent, readJson } from "../weights/layout.ts";
import { type Features, joined } from "./features.ts";
import { type Framing, framed, normalised, type Preprocessing, preprocessing } from "./preprocess.ts";

export interface Scorer {
  readonly location: string;
  /** Numbers of a vector. */
  readonly width: number;
  /** Pictures or texts a run of a tower: what it is best given at a time. */
  readonly batch: number;
  /** Vectors of pictures of any size. @throws KoalaError E_NAN, E_ENGINE */
  pictures(pictures: readonly Picture[], framing?: Framing): Promise<Features>;
  /** Vectors of texts; what is longer than the tower reads is cut off. @throws KoalaError E_NAN, E_ENGINE */
  texts(texts: readonly string[]): Promise<Features>;
  dispose(): Promise<void>;
}

export interface ScorerOptions {
  readonly engine: Engine;
  readonly threads?: number;
}

/** Enough to keep two cores busy; a ViT-H/14 takes 0.7 GB of activations for it. */
const batch = 16;

/**
 * A scorer from the files of its folder.
 * @throws KoalaError E_MODEL, E_CONFIG, E_WEIGHTS, E_TOKENIZER, E_FILE, E_SAFETENSORS
 */
export async function openScorer(files: ModelFiles, o: ScorerOptions): Promise<Scorer> {
  const { location } = files;
  const paths = await files.list();
  const hint = "A scorer is a CLIPModel as transformers saves it, both towers in one folder.";
  check(paths.includes("config.json"), "E_MODEL", () => ({
    where: location,
    expected: "a CLIP to score with: config.json of a CLIPModel",
    got: paths.includes("model_index.json") ? "a pipeline, which draws" : "a folder without config.json",
    hint,
  }));
  const json = jsonObject(await readJson(files, "config.json"), `${location}/config.json`);
  check(isClip(json), "E_MODEL", () => ({
    where: `${location}/config.json`,
    expected: "a CLIP to score with: architectures CLIPModel, with text_config and vision_config",
    got: JSON.stringify(json.architectures ?? json._class_name ?? json.model_type ?? "neither"),
    hint,
  }));
  const { text, vision } = towers(json, location);
  const { store } = await openComponent(files, "");
  const expected = new Map(
    [buildClipText(text, { batch: 1, tokens: 2 }), buildClipVision(vision, 1)].flatMap(
      ({ parameters }: Built) => [...parameters].map(([name, { value }]) => [name, value.shape] as const),
    ),
  );
  checkWeights(store, expected, { where: location });
  const tokenizer = loadTokenizer(await readTokenizer(files, ""), {
    where: location,
    contextLength: text.positions,
    vocabSize: text.vocabulary,
  });
  const settings = paths.includes("preprocessor_config.json")
    ? await readJson(files, "preprocessor_config.json")
    : {};
  const how = preprocessing(settings, vision.pictureSize, `${location}/preprocessor_config.json`);
  const stages = { text: new Stage(), vision: new Stage() };
  const program = (tower: keyof typeof stages, build: () => Readonly<Record<string, Value>>) =>
    stages[tower].use("", () => compile(build(), { ...o, store }));

  async function texts(some: readonly string[]): Promise<Tensor | undefined> {
    const ids = full(some, "").flatMap((one) => tokenizer.encode(one).ids);
    const length = tokenizer.maxLength;
    const run = await program("text", () => projected(buildClipText(text, { batch, tokens: length })));
    const rows = eosRows(ids, length, text.eosToken);
    return (await run.run({ ids: int64([batch, length], ids), eos: int64([batch], rows) })).projected;
  }

  async function pictures(some: readonly Picture[], framing: Framing): Promise<Tensor | undefined> {
    const squares = some.map((picture) => framed(picture, how, framing));
    const run = await program("vision", () => projected(buildClipVision(vision, batch)));
    return (await run.run({ picture: fed(squares, vision, how) })).projected;
  }

  return {
    location,
    width: vision.projection,
    batch,
    pictures: (all, framing = "crop") =>
      inBatches(all, vision.projection, `${location}: vision_model`, (some) => pictures(some, framing)),
    texts: (all) => inBatches(all, vision.projection, `${location}: text_model`, texts),
    async dispose() {
      for (const stage of Object.values(stages)) await stage.free();
    },
  };
}

const isObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isClip = ({ architectures, model_type, text_config, vision_config }: JsonObject): boolean =>
  (Array.isArray(architectures) ? architectures.includes("CLIPModel") : model_type === "clip") &&
  isObject(text_config) &&
  isObject(vision_config);

/** Each tower's config on its own; the width of the space is the whole model's, whatever a tower's config says. */
function towers(json: JsonObject, location: string): { text: ClipTextConfig; vision: ClipVisionConfig } {
  const own = towerConfigs(json, `${location}/config.json`);
  const where = (name: string): string => `${location}/config.json, ${name}`;
  return {
    text: clipTextConfig(own.text, where("text_config")),
    vision: clipVisionConfig(own.vision, where("vision_config")),
  };
}

const projected = ({ outputs }: Built): Record<"projected", Value> => ({
  projected: outputs.projected as Value,
});

/** As many as the program takes; the last is repeated, or `spare` where there is none. */
const full = <T>(some: readonly T[], spare: T): T[] =>
  Array.from({ length: batch }, (_, i) => some[Math.min(i, some.length - 1)] ?? spare);

function fed(squares: readonly Picture[], c: ClipVisionConfig, how: Preprocessing): Tensor {
  const { dtype, shape } = clipVisionInputs(c, batch).picture;
  const data = new Float32Array(shape.reduce((n, d) => n * d, 1)); // places that no picture fills stay 0
  data.set(normalised(squares, how));
  return tensor(dtype, shape, data);
}

async function inBatches<T>(
  all: readonly T[],
  width: number,
  where: string,
  run: (some: readonly T[]) => Promise<Tensor | undefined>,
): Promise<Features> {
  const lots: Features[] = [];
  for (let at = 0; at < all.length; at += batch) {
    const some = all.slice(at, at + batch);
    const result = await run(some);
    const data = result === undefined ? new Float32Array(0) : toFloat32(result).slice(0, some.length * width);
    check(data.length === some.length * width && data.every(Number.isFinite), "E_NAN", () => ({
      where,
      expected: "vectors of finite numbers",
      got: "NaN or infinity",
      hint: "The weights may be damaged.",
    }));
    lots.push({ count: some.length, width, data });
  }
  return joined(lots, width);
}
