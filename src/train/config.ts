/**
 * A training run's schema: every field with its bounds, unit, default and description, by kind of run. The YAML file of a
 * run, the command line's flags and their help all come from it, and it is the one place where defaults of training live.
 * Fields without a default are the model's (resolution, how samples are drawn) or switch something off.
 */

import { z } from "zod";
import { KoalaError } from "../core/errors.ts";
import { nearest } from "../core/nearest.ts";
import { type LayerMap, layerMaps } from "./distill/layers.ts";
import type { DistillOptions } from "./distill/loss.ts";
import type { RateShape } from "./schedule-lr.ts";

/** What is trained: a U-Net on its own, or a student by its teacher. */
export const runKinds = ["unet", "distill"] as const;
export type RunKind = (typeof runKinds)[number];

export const optimizerNames = ["adamw", "adam8bit", "adafactor", "sgd"] as const;
export type OptimizerName = (typeof optimizerNames)[number];

/** What every run has. */
export interface CommonRun {
  /** Folders, parquet or tar files. */
  readonly data: readonly string[];
  /** Fields of the data that hold captions, in the order to be tried; absent: the usual names. */
  readonly captions?: readonly string[];
  /** Field by which drawing is balanced; absent: every picture alike. */
  readonly group?: string;
  /** Folder of what is computed once; absent: in the run's own. */
  readonly cache?: string;
  /** Pixels; absent: the model's. */
  readonly resolution?: number;
  readonly crop: "center" | "random";
  readonly flips: boolean;
  /** Crops that are kept of each picture. */
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
  /** Absent: one a core. */
  readonly threads?: number;
  /** γ; 0: every step of noise weighs 1. */
  readonly minSnr: number;
  readonly noiseOffset: number;
  /** Share of pictures that are learned without their caption. */
  readonly emptyCaptions: number;
  /** Absent: captions of the data. */
  readonly prompts?: readonly string[];
  /** Absent: the model's. */
  readonly sampleSteps?: number;
  readonly sampleGuidance?: number;
}

export interface UNetRun extends CommonRun {
  readonly kind: "unet";
  /** The folder whose other parts are used, and whose U-Net is where training starts. */
  readonly model: string;
  /** Another shape of U-Net than the model's, by the path of its config.json. */
  readonly unet?: string;
  /** Random weights instead of the model's. */
  readonly fresh: boolean;
}

export interface DistillRun extends CommonRun {
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
}

/** A run with every default filled in. */
export type Run = UNetRun | DistillRun;

const path = z.string().min(1).max(4096);
const whole = (least: number, most: number) => z.int().min(least).max(most);
const many = 100_000_000;

const common = {
  data: z
    .array(path)
    .min(1)
    .meta({ description: "what to learn from: folders of pictures, parquet or tar files", argument: "PATH" }),
  captions: z.array(z.string().min(1)).min(1).optional().meta({
    description: "fields of the data that hold captions, in the order to be tried",
    argument: "NAME",
  }),
  group: z.string().min(1).optional().meta({ description: "field to balance drawing by", argument: "NAME" }),
  cache: path.optional().meta({
    description: "folder of what is computed once for the data (default: in the run's own)",
    argument: "DIR",
  }),
  resolution: whole(8, 4096).optional().meta({ description: "side of the square to train on", unit: "px" }),
  crop: z
    .enum(["center", "random"])
    .default("center")
    .meta({ description: "what stays of a picture that is no square" }),
  flips: z.boolean().default(false).meta({ description: "mirror every other view" }),
  views: whole(1, 64).default(1).meta({ description: "crops that are kept of each picture" }),
  minSide: whole(1, 65_536).optional().meta({
    description: "leave out pictures whose shorter side is below (default: half the resolution)",
    unit: "px",
  }),
  background: z
    .string()
    .min(1)
    .default("white")
    .meta({ description: "colour that transparent pictures lie on", argument: "COLOUR" }),
  steps: whole(1, many).default(1000).meta({ description: "steps of the whole run" }),
  batch: whole(1, 65_536).default(8).meta({ description: "pictures that run through the network together" }),
  accumulate: whole(1, 65_536).default(1).meta({ description: "batches whose gradients make one step" }),
  optimizer: z.enum(optimizerNames).default("adamw").meta({ description: "how weights move" }),
  // diffusers' train_text_to_image_sdxl.py: 1e-4, constant, decay 0.01, norm 1
  rate: z.number().positive().max(1).default(1e-4).meta({ description: "highest learning rate" }),
  schedule: z
    .enum(["constant", "linear", "cosine"])
    .default("constant")
    .meta({ description: "how the learning rate falls after its warm-up" }),
  warmup: whole(0, many).default(0).meta({ description: "steps over which the learning rate rises" }),
  weightDecay: z.number().min(0).max(1).default(0.01).meta({ description: "how much weights shrink" }),
  maxNorm: z
    .number()
    .min(0)
    .max(1e6)
    .default(1)
    .meta({ description: "norm that gradients are clipped to; 0: none" }),
  ema: z
    .number()
    .min(0)
    .lt(1)
    .default(0.999)
    .meta({ description: "highest decay of the average of the weights, which is the result; 0: no average" }),
  recompute: z
    .array(z.string().min(1))
    .default([])
    .meta({ description: "taps to cut the network at: less memory, more time", argument: "TAP" }),
  seed: whole(0, 4_294_967_295).default(0).meta({ description: "of all that is random" }),
  checkpointEvery: whole(1, many).default(500).meta({ description: "steps between checkpoints" }),
  keep: whole(1, 1000).default(2).meta({ description: "newest checkpoints to keep" }),
  sampleEvery: whole(0, many).default(500).meta({ description: "steps between sheets of samples; 0: none" }),
  sampleCount: whole(1, 64).default(8).meta({ description: "pictures on a sheet of samples" }),
  dtype: z
    .enum(["float16", "float32"])
    .default("float16")
    .meta({ description: "how the weights of the result are stored" }),
  engine: z.string().min(1).default("auto").meta({ description: "what computes", argument: "NAME" }),
  threads: whole(1, 1024).optional().meta({ description: "threads that compute (default: one a core)" }),
  // Hang et al. 2023, arXiv:2303.09556, section 3.4: γ = 5
  minSnr: z
    .number()
    .min(0)
    .max(1000)
    .default(5)
    .meta({ description: "most signal to noise that counts in the weight of a step; 0: all weigh the same" }),
  noiseOffset: z.number().min(0).max(1).default(0).meta({ description: "noise added to whole channels" }),
  // Ho and Salimans 2022, arXiv:2207.12598: 0.1
  emptyCaptions: z
    .number()
    .min(0)
    .max(1)
    .default(0.1)
    .meta({ description: "share of pictures learned without a caption, for guidance" }),
  prompts: z
    .array(z.string().max(10_000))
    .min(1)
    .max(64)
    .optional()
    .meta({ description: "what samples show (default: captions of the data)", argument: "TEXT" }),
  sampleSteps: whole(1, 1000)
    .optional()
    .meta({ description: "denoising steps of samples (default: the model's)" }),
  sampleGuidance: z
    .number()
    .min(0)
    .max(50)
    .optional()
    .meta({ description: "guidance of samples (default: the model's)" }),
};

const weight = z.number().min(0).max(1e6).default(1);
const kinds = {
  unet: {
    kind: z.literal("unet"),
    model: path.meta({ description: "model folder or hub id to begin with", argument: "MODEL" }),
    unet: path.optional().meta({
      description: "config.json of a U-Net of another shape, with random weights",
      argument: "FILE",
    }),
    fresh: z
      .boolean()
      .default(false)
      .meta({ description: "begin with random weights, not with the model's" }),
    ...common,
  },
  distill: {
    kind: z.literal("distill"),
    teacher: path.meta({ description: "model folder or hub id to learn from", argument: "MODEL" }),
    student: path.meta({
      description: "rule to cut the student by, or the folder of one that was cut",
      argument: "NAME|DIR",
    }),
    ...common,
    features: z.string().min(1).default("koala").meta({
      description: "features to learn: koala, bk-sdm, all, or such as SA,LF:DW-1+UP-3",
      argument: "WHICH",
    }),
    map: z
      .enum(layerMaps as [LayerMap, ...LayerMap[]])
      .optional()
      .meta({ description: "which of the teacher's blocks each block learns from (default: as it was cut)" }),
    taskWeight: weight.meta({ description: "weight of the difference to the noise" }),
    outputWeight: weight.meta({ description: "weight of the difference to the teacher's prediction" }),
    featureWeight: weight.meta({ description: "weight of the features together" }),
    detail: z
      .enum(["total", "stage", "pair"])
      .default("stage")
      .meta({ description: "how finely the log tells the features" }),
    memory: z
      .string()
      .regex(/^\d+(\.\d+)? ?[kMGT]?B$/)
      .optional()
      .meta({ description: "most memory to plan for, such as 12GB; teacher and student then take turns" }),
    turn: whole(1, 1_000_000).default(16).meta({ description: "batches between two turns of the teacher" }),
  },
} satisfies { readonly [K in RunKind]: Readonly<Record<string, z.ZodType>> };

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

function said(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? typeof value);
  return text.length <= 80 ? text : `${text.slice(0, 79)}…`;
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
      got: said(isObject ? given.kind : input),
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
  throw new KoalaError("E_CONFIG", {
    where: nameOf(key),
    expected: field?.allowed ?? "another value",
    got: said(value),
    ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
  });
}

function unknownKey(kind: RunKind, key: string, nameOf: (key: string) => string): KoalaError {
  const known = runFields(kind).map((field) => field.key);
  const [near] = nearest(key, known);
  return new KoalaError("E_CONFIG", {
    where: key,
    expected: `a field of a run of kind ${kind}`,
    got: "an unknown name",
    hint:
      near === undefined
        ? `The fields are ${known.map(nameOf).join(", ")}.`
        : `Did you mean ${nameOf(near)}?`,
  });
}

/** Of a size as `memory` has it, decimal: "12GB" → 12e9. */
export function bytesOf(text: string): number {
  const [, number = "", unit = ""] = /^([\d.]+) ?([kMGT]?)B$/.exec(text) ?? [];
  return Number(number) * 1000 ** " kMGT".indexOf(unit === "" ? " " : unit);
}
