/** The models that a server offers: opened once for their defaults and limits; the weights are read by those who draw. */

import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { nearest } from "../../core/nearest.ts";
import { quoted } from "../../core/quoted.ts";
import { Pipeline } from "../../pipeline/pipeline.ts";
import {
  type Defaults,
  type PrecisionName,
  parseRequest,
  type Request,
  type RequestInput,
  requestFields,
  type Size,
} from "../../pipeline/request.ts";
import type { Start } from "../../pipeline/start.ts";
import { type Structure, unetStructure } from "../../pipeline/structure.ts";
import { modelAnatomy } from "../cli/anatomy.ts";
import { modelFacts } from "../cli/model-facts.ts";
import { fitStart } from "../image-file.ts";
import { openModel } from "../open-model.ts";
import type { JsonObject } from "./body.ts";
import type { ModelPlace, ModelPlaces } from "./engine-messages.ts";
import { type StartPngs, toPngs } from "./start-pictures.ts";

/** What the server knows of a model. */
export interface ServedModel {
  readonly name: string;
  readonly family: string;
  readonly engine: string;
  readonly defaults: Defaults;
  /** Whether it is SDXL or a relative. */
  readonly isXL: boolean;
  /** What a request may name: what the operator allows, and the model has on its engine. */
  readonly precisions: readonly PrecisionName[];
  /** Pixels that the sides of a picture are multiples of. */
  readonly unit: number;
  /** Whether it draws nothing but what a mask leaves to it of a picture. */
  readonly isInpainting: boolean;
  /** @throws KoalaError E_REQUEST */
  resolve(input: RequestInput, start?: Start): Request;
  /** The size of a picture that starts from another, by what is said of it. */
  sizeLike(picture: Size, said: RequestInput): Size;
  /** Parameters, operations and memory by network, the U-Net by stage. */
  facts(): Promise<unknown>;
  /** The U-Net by stage. @throws KoalaError E_MODEL where it has none */
  structure(): Promise<Structure>;
}

/** What one request may ask of a shared machine; the schema's own bounds are those of the models. */
export interface Limits {
  readonly steps: number;
  /** Of width and height, in pixels. */
  readonly side: number;
  readonly count: number;
}

/** OpenAI's own names: scripts that say them get the first model. */
const openaiNames = /^(dall-e-[23]|gpt-image-1(\.5|-mini)?|chatgpt-image-latest)$/;

export class Models {
  readonly all: readonly ServedModel[];
  readonly limits: Limits;

  constructor(all: readonly ServedModel[], limits: Limits) {
    this.all = all;
    this.limits = limits;
  }

  /** The one that is used where none is named. */
  get first(): ServedModel {
    return this.all[0] as ServedModel;
  }

  /** The model that a client names; nothing but a name of the list is ever opened. @throws KoalaError E_MODEL */
  named(name: unknown, field = "model"): ServedModel {
    if (name === undefined || name === null || name === "") return this.first;
    const found = this.all.find((model) => model.name === name);
    if (found !== undefined) return found;
    if (typeof name === "string" && openaiNames.test(name)) return this.first;
    const names = this.all.map((model) => model.name);
    const [near] = typeof name === "string" && name.length < 200 ? nearest(name, names) : [];
    throw new KoalaError("E_MODEL", {
      where: field,
      expected: `one of ${names.join(", ")}`,
      got: quoted(name),
      ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
    });
  }

  /** The model that a path names, by its own name alone. @throws KoalaError E_NOT_FOUND */
  found(name: string): ServedModel {
    const found = this.all.find((model) => model.name === name);
    if (found !== undefined) return found;
    throw new KoalaError("E_NOT_FOUND", {
      where: "model",
      expected: `one of ${this.all.map((model) => model.name).join(", ")}`,
      got: JSON.stringify(name.slice(0, 80)),
    });
  }

  /**
   * A request from outside as it will run. `fieldOf` says what the door calls a field.
   * @throws KoalaError E_REQUEST, in the door's words
   */
  accept(model: ServedModel, input: unknown, fieldOf: FieldName = sameName, start: Start = {}): Request {
    const parsed = parseRequest(input, fieldOf);
    let request: Request;
    try {
      request = model.resolve(parsed, start);
    } catch (error) {
      throw renamed(error, fieldOf);
    }
    this.checkLimits(request, fieldOf);
    const { precision = "f32" } = request;
    check(model.precisions.includes(precision), "E_REQUEST", () => ({
      where: fieldOf("precision"),
      expected: `one that this server offers for ${model.name}: ${model.precisions.join(", ")}`,
      got: precision,
    }));
    return request;
  }

  /** @throws KoalaError E_REQUEST */
  private checkLimits(request: Partial<Request>, fieldOf: FieldName): void {
    const { steps, side, count } = this.limits;
    const bounds = [
      ["steps", steps, ""],
      ["width", side, " (px)"],
      ["height", side, " (px)"],
      ["count", count, ""],
    ] as const;
    for (const [key, most, unit] of bounds)
      check((request[key] ?? 0) <= most, "E_REQUEST", () => ({
        where: fieldOf(key),
        expected: `at most ${most}${unit} on this server`,
        got: String(request[key]),
      }));
  }

  /**
   * The same of a request that may start from pictures, which are made of its size; not those of which a part is drawn.
   * @throws KoalaError E_REQUEST, in the door's words
   */
  async acceptStarted(
    model: ServedModel,
    input: JsonObject,
    { image, mask }: Start,
    { fieldOf = sameName, fit = "cover" }: { readonly fieldOf?: FieldName; readonly fit?: Fit } = {},
  ): Promise<Accepted> {
    if (image === undefined) return { request: this.accept(model, input, fieldOf, { mask }), start: null };
    check(
      mask === undefined || (mask.width === image.width && mask.height === image.height),
      "E_REQUEST",
      () => ({
        where: fieldOf("mask"),
        expected: `${image.width} x ${image.height} px, as the picture`,
        got: `${mask?.width} x ${mask?.height} px`,
      }),
    );
    const parsed = parseRequest(input, fieldOf);
    if (parsed.paddingMaskCrop !== undefined) {
      checkKept(image, fieldOf("image"));
      return {
        request: this.accept(model, input, fieldOf, { image, mask }),
        start: await toPngs({ image, mask }),
      };
    }
    const size = model.sizeLike(image, parsed);
    this.checkLimits(size, fieldOf); // before pictures of it are made
    const start = await fitStart({ image, mask }, size, fit);
    const request = this.accept(model, { ...input, ...size }, fieldOf, start);
    return { request, start: await toPngs(start) };
  }
}

/** Of the largest picture that the schema knows: a start that is not made smaller is sent and kept with its job, and so is what is drawn. */
const longestKept = 4096;

/** @throws KoalaError E_REQUEST */
function checkKept({ width, height }: Size, where: string): void {
  check(Math.max(width, height) <= longestKept, "E_REQUEST", () => ({
    where,
    expected: `at most ${longestKept} x ${longestKept} px, since the picture keeps its size`,
    got: `${width} x ${height} px`,
  }));
}

type Fit = "cover" | "fill";

/** A request as it will run, and what it starts from. */
export interface Accepted {
  readonly request: Request;
  readonly start: StartPngs | null;
}

type FieldName = (key: string) => string;
const sameName: FieldName = (key) => key;

/** An error about a field, with the field called as the door calls it. */
function renamed(error: unknown, fieldOf: (key: string) => string): unknown {
  if (!(error instanceof KoalaError) || !requestFields().some(({ key }) => key === error.where)) return error;
  return error.reworded({ where: fieldOf(error.where) });
}

/** What a model is called by clients: its hub id, or its folder's own name, never a path of this machine. */
export const servedName = (location: string): string =>
  existsSync(location) ? basename(resolve(location)) : location;

/**
 * `allowed`, the first of which that the model has is taken where a request names none; null: all, and the model's own usual one.
 * @throws KoalaError E_FLAG where it has none of them, and as `Pipeline.load`
 */
export async function openServed(
  name: string,
  place: ModelPlace,
  allowed: readonly PrecisionName[] | null,
): Promise<ServedModel> {
  const { location, ...options } = place;
  const pipeline = await Pipeline.load(location, options);
  const wanted = allowed ?? pipeline.precisions;
  const precisions = wanted.filter((one) => pipeline.precisions.includes(one));
  const [precision] = precisions;
  check(precision !== undefined, "E_FLAG", () => ({
    where: "--precisions",
    expected: `at least one that ${name} has on ${pipeline.engineName}: ${pipeline.precisions.join(", ")}`,
    got: wanted.join(", "),
  }));
  const usual = precision === pipeline.usualPrecision ? {} : { precision };
  let facts: Promise<unknown> | null = null;
  return {
    name,
    family: pipeline.family,
    engine: pipeline.engineName,
    defaults: pipeline.defaults,
    isXL: pipeline.isXL,
    ...{ precisions, unit: pipeline.unit, isInpainting: pipeline.isInpainting },
    resolve: (input, start) => pipeline.resolve({ ...usual, ...input }, start),
    sizeLike: (picture, said) => pipeline.sizeLike(picture, said),
    facts: () => (facts ??= openModel(location, options).then((files) => modelFacts(name, files))),
    async structure() {
      const { organs } = await modelAnatomy(await openModel(location, options));
      const unet = organs.find(({ className }) => className === "UNet2DConditionModel");
      check(unet !== undefined, "E_MODEL", () => ({
        where: name,
        expected: "a U-Net",
        got: "another network",
      }));
      return unetStructure(name, unet.config);
    },
  };
}

/** The served list by name. @throws KoalaError E_FLAG where two models have one name */
export function placesOf(locations: readonly string[], options: Omit<ModelPlace, "location">): ModelPlaces {
  const places: Record<string, ModelPlace> = {};
  for (const location of locations) {
    const name = servedName(location);
    check(places[name] === undefined, "E_FLAG", () => ({
      where: "--model",
      expected: "models of different names",
      got: `two called ${name}`,
    }));
    places[name] = { location, ...options };
  }
  return places;
}
