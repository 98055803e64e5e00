/**
 * The configuration of a training run: its type by kind, its fields as doors show them, and what is checked of it. The YAML
 * file of a run, the command line's flags and their help all come from the fields of `run-fields.ts`.
 */

import { z } from "zod";
import { KoalaError } from "../core/errors.ts";
import { nearest } from "../core/nearest.ts";
import { quoted } from "../core/quoted.ts";
import type { Precision } from "../runtime/session.ts";
import type { ConsistencyMethod } from "./consistency/path.ts";
import type { LayerMap } from "./distill/layers.ts";
import type { DistillOptions } from "./distill/loss.ts";
import type { AverageDtype } from "./ema.ts";
import {
  type AnswerPlace,
  kinds,
  type LatentScale,
  type OptimizerName,
  type RunKind,
  runKinds,
} from "./run-fields.ts";
import type { RateShape } from "./schedule-lr.ts";

export {
  type AnswerPlace,
  type LatentScale,
  type OptimizerName,
  optimizerNames,
  type RunKind,
  runKinds,
} from "./run-fields.ts";

/** What every run has. */
export interface CommonRun {
  /** Folders, parquet or tar files. */
  readonly data: readonly string[];
  /** Field by which drawing is balanced; absent: every picture alike. */
  readonly group?: string;
  /** Folder of what is computed once; absent: in the run's own. */
  readonly cache?: string;
  /** Pixels; absent: the model's. */
  readonly resolution?: number;
  readonly crop: "center" | "random";
  readonly flips: boolean;
  /** Crops that are kept of each picture; with flips at least two. */
  readonly views: number;
  /** Pixels; absent: half the resolution. */
  readonly minSide?: number;
  readonly background: string;
  /** Of the whole run. */
  readonly steps: number;
  /** Pictures that run through the network together. */
  readonly batch: number;
  /** Batches whose gradients make one step. */
  readonly accumulate: number;
  readonly optimizer: OptimizerName;
  /** The learning rate at its highest. */
  readonly rate: number;
  readonly schedule: RateShape;
  readonly warmup: number;
  readonly weightDecay: number;
  /** 0: gradients are not clipped. */
  readonly maxNorm: number;
  /** Highest decay of the weights' average; 0: none is kept. */
  readonly ema: number;
  /** Taps at which memory is exchanged for time. */
  readonly recompute: readonly string[];
  readonly seed: number;
  readonly checkpointEvery: number;
  /** Newest checkpoints that are kept. */
  readonly keep: number;
  /** 0: none are drawn. */
  readonly sampleEvery: number;
  readonly sampleCount: number;
  readonly dtype: "float16" | "float32";
  readonly engine: string;
  /** Of forward and backward; what moves the weights, and all that is kept, is f32. */
  readonly precision: Precision;
  /** Absent: one a core. */
  readonly threads?: number;
}

/** What runs of networks that draw by a text have beside that. */
export interface PromptedRun extends CommonRun {
  /** Fields of the data that hold captions, in the order to be tried; absent: the usual names. */
  readonly captions?: readonly string[];
  /** Whether pictures keep their aspect, in sizes of about the same area. */
  readonly buckets: boolean;
  /** Sizes whose compiled programs stay in memory. */
  readonly bucketPrograms: number;
  /** Share of pictures that are learned without their caption. */
  readonly emptyCaptions: number;
  /** Absent: captions of the data. */
  readonly prompts?: readonly string[];
  /** Absent: the model's. */
  readonly sampleSteps?: number;
  readonly sampleGuidance?: number;
}

/** What runs of networks that learn to take noise away have beside that. */
export interface DenoiserRun extends PromptedRun {
  readonly weighting: "min-snr" | "debiased";
  /** γ of `min-snr`; 0: every step of noise weighs 1. */
  readonly minSnr: number;
  readonly noiseOffset: number;
  /** How the average of the weights is kept. */
  readonly emaDtype: AverageDtype;
}

/** What of the weights learns. */
export interface LoraFields {
  /** Rank of the additions; absent: all weights learn. */
  readonly lora?: number;
  /** See `parseLoraTargets`. */
  readonly loraTargets: readonly string[];
}

export interface UNetRun extends DenoiserRun, LoraFields {
  readonly kind: "unet";
  /** The folder whose other parts are used, and whose U-Net is where training starts. */
  readonly model: string;
  /** Another shape of U-Net than the model's, by the path of its config.json. */
  readonly unet?: string;
  /** Random weights instead of the model's. */
  readonly fresh: boolean;
}

export interface TransformerRun extends DenoiserRun, LoraFields {
  readonly kind: "transformer";
  /** The folder whose other parts are used, and whose transformer is where training starts. */
  readonly model: string;
  /** Another shape of transformer than the model's, by the path of its config.json. */
  readonly transformer?: string;
  /** Random weights instead of the model's. */
  readonly fresh: boolean;
}

export interface DistillRun extends DenoiserRun {
  readonly kind: "distill";
  readonly teacher: string;
  /** A folder, or the rule by which to cut it out of the teacher. */
  readonly student: string;
  /** See `parseFeatures`. */
  readonly features: string;
  /** Absent: by the cut, where it is known. */
  readonly map?: LayerMap;
  readonly taskWeight: number;
  readonly outputWeight: number;
  readonly featureWeight: number;
  readonly detail: NonNullable<DistillOptions["detail"]>;
  /** Most memory that may be used, "12GB"; absent: any. */
  readonly memory?: string;
  /** Batches whose answers are kept where teacher and student take turns. */
  readonly turn: number;
  /** Where they are kept. */
  readonly answers: AnswerPlace;
}

export interface ConsistencyRun extends PromptedRun, LoraFields {
  readonly kind: "consistency";
  readonly method: ConsistencyMethod;
  readonly teacher: string;
  /** A folder, or the rule by which to cut it out of the teacher; absent: the teacher's own U-Net. */
  readonly student?: string;
  /** Steps of the solver; absent: the method's. */
  readonly grid?: number;
  /** Of PCM; the steps that the result takes. */
  readonly phases: number;
  /** Of the teacher, 1 being none; absent: the method's. */
  readonly guidanceFrom?: number;
  readonly guidanceTo?: number;
  /** Whether the student is told the guidance. */
  readonly guidanceInput: boolean;
  readonly loss: "huber" | "l2";
  readonly huberC: number;
  /** 0: no adversary; absent: the method's. */
  readonly adversarialWeight?: number;
  readonly adversarialRate: number;
}

export interface VaeRun extends CommonRun {
  readonly kind: "vae";
  /** The folder whose VAE is where training starts, and whose other parts go into the result; or a VAE's own. */
  readonly model?: string;
  /** Another shape of VAE, or one of no model, by the path of its config.json. */
  readonly vae?: string;
  /** Random weights instead of the model's. */
  readonly fresh: boolean;
  /** Data to measure by, which is never learned from. */
  readonly heldOut?: readonly string[];
  /** Pixels; absent: the whole picture. */
  readonly patch?: number;
  readonly decoderOnly: boolean;
  /** Absent: measured where the encoder begins with random weights. */
  readonly latents?: LatentScale;
  /** Where the latents' log-variance begins with random weights. */
  readonly logVariance: number;
  readonly l1Weight: number;
  readonly l2Weight: number;
  readonly edgeWeight: number;
  readonly klWeight: number;
}

export interface ClipRun extends CommonRun {
  readonly kind: "clip";
  /** The folder of a `CLIPModel` where training starts. */
  readonly model?: string;
  /** A new shape, by the path of a `CLIPModel`'s config.json: with random weights. */
  readonly clip?: string;
  /** Random weights instead of the model's. */
  readonly fresh: boolean;
  /** Fields of the data that hold captions, in the order to be tried; absent: the usual names. */
  readonly captions?: readonly string[];
  /** Folder of a tokenizer; absent: the model's, or one that is learned from the captions. */
  readonly tokenizer?: string;
  /** Data to measure by, which is never learned from. */
  readonly heldOut?: readonly string[];
  /** Least share of a picture's sides that each step sees. */
  readonly leastCrop: number;
}

/** A run with every default filled in. */
export type Run = UNetRun | TransformerRun | DistillRun | ConsistencyRun | VaeRun | ClipRun;

/** One field as a door shows it. */
export interface RunField {
  readonly key: string;
  /** Its command line flag, without dashes. */
  readonly flag: string;
  /** What the flag takes; null for a switch. */
  readonly argument: string | null;
  readonly type: "text" | "number" | "switch" | "list";
  readonly description: string;
  readonly fallback: unknown;
  /** The allowed values in words. */
  readonly allowed: string;
  /** Of an enumeration. */
  readonly choices: readonly string[];
}

interface FieldSchema {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly const?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly pattern?: string;
  readonly default?: unknown;
  readonly description?: string;
  readonly unit?: string;
  readonly argument?: string;
}

function allowed(field: FieldSchema): string {
  if (field.const !== undefined) return field.const;
  if (field.enum !== undefined) return `one of ${field.enum.join(", ")}`;
  if (field.pattern !== undefined) return "a size such as 12GB";
  if (field.type === "array") return "a list of texts";
  if (field.type === "boolean") return "true or false";
  if (field.type === "string") return "a text";
  const what = field.type === "integer" ? "a whole number" : "a number";
  const from =
    field.exclusiveMinimum === undefined ? `from ${field.minimum}` : `above ${field.exclusiveMinimum}`;
  const to =
    field.exclusiveMaximum === undefined ? `to ${field.maximum}` : `to below ${field.exclusiveMaximum}`;
  return `${what} ${from} ${to}${field.unit === undefined ? "" : ` (${field.unit})`}`;
}

const typeOf = (field: FieldSchema): RunField["type"] =>
  field.type === "array"
    ? "list"
    : field.type === "boolean"
      ? "switch"
      : field.type === "integer" || field.type === "number"
        ? "number"
        : "text";

/** The fields of a kind of run in the order of the schema, `kind` itself left out. */
export function runFields(kind: RunKind): RunField[] {
  const json = z.toJSONSchema(z.strictObject(kinds[kind]), { io: "input" });
  const entries = Object.entries((json.properties ?? {}) as Record<string, FieldSchema>);
  return entries
    .filter(([key]) => key !== "kind")
    .map(([key, field]) => ({
      key,
      flag: key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
      argument:
        field.type === "boolean"
          ? null
          : (field.argument ?? field.unit?.toUpperCase() ?? (field.enum ? "NAME" : "N")),
      type: typeOf(field),
      description: field.description ?? "",
      fallback: field.default,
      allowed: allowed(field),
      choices: field.enum ?? [],
    }));
}

/**
 * Checks what came from outside and fills in the defaults. `nameOf` says what the caller calls a field, for the errors.
 * @throws KoalaError E_CONFIG that names the field, what it allows and what it got
 */
export function parseRun(input: unknown, nameOf: (key: string) => string = (key) => key): Run {
  const isObject = typeof input === "object" && input !== null && !Array.isArray(input);
  const given: Readonly<Record<string, unknown>> = isObject ? (input as Record<string, unknown>) : {};
  const kind = runKinds.find((known) => known === given.kind);
  if (kind === undefined) {
    const [near] = typeof given.kind === "string" ? nearest(given.kind, runKinds) : [];
    throw new KoalaError("E_CONFIG", {
      where: isObject ? nameOf("kind") : "run",
      expected: isObject ? `one of ${runKinds.join(", ")}` : "an object of fields with a kind",
      got: quoted(isObject ? given.kind : input),
      ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
    });
  }
  const result = z.strictObject(kinds[kind] as Readonly<Record<string, z.ZodType>>).safeParse(given);
  if (result.success)
    return Object.fromEntries(
      Object.entries(result.data).filter(([, value]) => value !== undefined),
    ) as unknown as Run;
  // a misspelt name also leaves a field without its value: the name is the mistake to tell
  const [issue] = result.error.issues;
  const unknown = result.error.issues.find(({ code }) => code === "unrecognized_keys");
  if (unknown?.code === "unrecognized_keys") throw unknownKey(kind, unknown.keys[0] ?? "", nameOf);
  const key = String(issue?.path[0] ?? "");
  const field = runFields(kind).find((candidate) => candidate.key === key);
  const value = given[key];
  const [near] = typeof value === "string" ? nearest(value, field?.choices ?? []) : [];
  if (field !== undefined && value === undefined) {
    const absent = result.error.issues
      .map(({ path }) => String(path[0]))
      .filter((name) => given[name] === undefined);
    throw missing(field, kind, absent.map(nameOf), nameOf);
  }
  throw new KoalaError("E_CONFIG", {
    where: nameOf(key),
    expected: field?.allowed ?? "another value",
    got: quoted(value),
    ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
  });
}

/** What a run cannot do without is told at once, not one after the other. */
function missing(
  { key, description, allowed }: RunField,
  kind: RunKind,
  needed: readonly string[],
  nameOf: (key: string) => string,
): KoalaError {
  return new KoalaError("E_CONFIG", {
    where: nameOf(key),
    expected: `${allowed}: ${description}`,
    got: "nothing",
    ...(needed.length > 1 ? { hint: `A run of kind ${kind} needs ${needed.join(", ")}.` } : {}),
  });
}

function unknownKey(kind: RunKind, key: string, nameOf: (key: string) => string): KoalaError {
  const known = runFields(kind).map((field) => field.key);
  const others = runKinds.filter((other) => runFields(other).some((field) => field.key === key));
  const [near] = nearest(key, known);
  return new KoalaError("E_CONFIG", {
    where: key,
    expected: `a field of a run of kind ${kind}`,
    got: "an unknown name",
    hint:
      others.length > 0
        ? `${nameOf(key)} is of runs of kind ${others.join(", ")}.`
        : near === undefined
          ? `The fields are ${known.map(nameOf).join(", ")}.`
          : `Did you mean ${nameOf(near)}?`,
  });
}

/** Of a size as `memory` has it, decimal: "12GB" → 12e9. */
export function bytesOf(text: string): number {
  const [, number = "", unit = ""] = /^([\d.]+) ?([kMGT]?)B$/.exec(text) ?? [];
  return Number(number) * 1000 ** " kMGT".indexOf(unit === "" ? " " : unit);
}
