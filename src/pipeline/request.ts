/**
 * The request: every field with its bounds, unit, default and description. Library arguments, command line flags, their
 * help, HTTP bodies and what a picture remembers of itself all come from this one schema.
 * Defaults that are not here are the model's (steps, guidance, size, scheduler, spacing, negative prompt).
 */

import { z } from "zod";
import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { nearest } from "../core/nearest.ts";
import { quoted } from "../core/quoted.ts";
import type { Curve } from "../diffusion/plans.ts";
import {
  hasSigmas,
  isKarras,
  type SchedulerName,
  type SigmaName,
  schedulerNames,
  sigmaNames,
} from "../diffusion/scheduler.ts";

export const spacings = ["leading", "trailing", "linspace"] as const;
export type Spacing = (typeof spacings)[number];

/** `bf16` where the engine and the CPU have it; `int8` and `int4` are f32 with the weights in blocks of so many bits, packed at load. */
export const precisionNames = ["f32", "bf16", "int8", "int4"] as const;
export type PrecisionName = (typeof precisionNames)[number];

/** What stands under a mask before noise is added. */
export const maskedContents = ["original", "fill", "noise", "nothing"] as const;
export type MaskedContent = (typeof maskedContents)[number];

/** Seeds are 32 bits: torch's CPU generator, whose noise ours equals, reads no more of a seed than that. */
export const largestSeed = 4294967295;

/** In pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** In pixels from the top left corner. */
export interface Offset {
  readonly left: number;
  readonly top: number;
}

/** A request with every default filled in: what runs. A picture records it without what has no effect (idle.ts). */
export interface Request {
  readonly prompt: string;
  /** Absent: the model's own idea of "no prompt", which for SDXL is zeros and not the encoding of "". */
  readonly negativePrompt?: string;
  /** Layers left out at the end of CLIP's encoders, as diffusers counts them; absent: none. */
  readonly clipSkip?: number;
  /** As many as `timesteps`, where there are some. */
  readonly steps: number;
  readonly guidance: number;
  readonly guidanceRescale: number;
  /** Noise level above which a step goes without guidance; absent: guided from the first step on. */
  readonly guidanceFrom?: number;
  /** Noise level down to which steps are guided; absent: to the last step. */
  readonly guidanceUntil?: number;
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** How much of a picture to start from is drawn anew, 0 to 1; absent: the picture starts from noise. */
  readonly strength?: number;
  /**
   * Pixels around the mask, where its surroundings alone are drawn, at this width and height, and put back: diffusers'
   * `padding_mask_crop`. The picture to start from keeps its own sides then. Absent: all of it is drawn.
   */
  readonly paddingMaskCrop?: number;
  /** What stands under the mask before noise is added; absent: the picture. */
  readonly maskedContent?: MaskedContent;
  /** Of the first picture; picture i has `seed + i`. */
  readonly seed: number;
  readonly count: number;
  readonly scheduler: SchedulerName;
  readonly spacing: Spacing;
  /** What the noise levels follow, of samplers that leave it open; absent: as the model's scheduler has it. */
  readonly sigmas?: SigmaName;
  /** Training steps that are visited, falling; absent: as scheduler and spacing lay them. */
  readonly timesteps?: readonly number[];
  /** Share of fresh noise in the steps of samplers that may have some, 0 to 1; absent: the sampler's own. */
  readonly eta?: number;
  readonly preview: boolean;
  /** What the networks are computed in; absent: f32. */
  readonly precision?: PrecisionName;
  /** SDXL's size conditioning; absent: the picture's own size. */
  readonly originalSize?: Size;
  /** SDXL's crop conditioning; absent: no crop. */
  readonly crop?: Offset;
  /** SDXL's target size conditioning; absent: the picture's own size. */
  readonly targetSize?: Size;
}

/** What a caller may say: only the prompt is needed. */
export type RequestInput = Pick<Request, "prompt"> & {
  readonly [K in Exclude<keyof Request, "prompt">]?: Request[K] | undefined;
};

/** Fields that say what is done with a mask, and nothing without one. */
export const maskFields: readonly (keyof RequestInput)[] = ["paddingMaskCrop", "maskedContent"];

/** What a model brings: the values of the fields that a request leaves open. */
export interface Defaults {
  readonly steps: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
  readonly scheduler: string;
  readonly spacing: string;
  /** Instead of `spacing` for a request that names another scheduler, by its name. */
  readonly usualSpacings?: Readonly<Record<string, string>>;
  readonly negativePrompt?: string;
}

/** Enough for the longest text that is read, in most languages; more would only cost time in the tokenizer. */
export const longestText = 10_000;
const text = z.string().max(longestText);
/** What a side is a multiple of, whatever the model. */
export const pixelStep = 8;
const pixels = z.int().min(pixelStep).max(4096).multipleOf(pixelStep);
/** The side of the largest picture that is read: more around a mask is all of it. */
const largestPadding = 8192;
/** In units of the data's standard deviation. SDXL's noise begins at 14.6. */
const sigma = z.number().min(0).max(1000);
const conditionPixels = z.int().min(0).max(65_536);
const size = z.strictObject({ width: conditionPixels, height: conditionPixels });

const fields = {
  prompt: text.meta({ description: "what to draw" }),
  negativePrompt: text
    .optional()
    .meta({ description: "what to keep out of the picture", flag: "negative", argument: "TEXT" }),
  clipSkip: z.int().min(0).max(11).optional().meta({
    description: "layers left out at the end of CLIP's text encoders; the web UI's Clip skip less 1 (SD 1)",
  }),
  steps: z.int().min(1).max(1000).optional().meta({ description: "denoising steps" }),
  guidance: z
    .number()
    .min(0)
    .max(50)
    .optional()
    .meta({ description: "how strongly the prompt pulls; up to 1 is no guidance, and half the work" }),
  guidanceRescale: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .meta({ description: "tames over-exposure from strong guidance (arXiv:2305.08891, section 3.4)" }),
  guidanceFrom: sigma.optional().meta({
    description:
      "noise level from which on steps are guided; above it a step is half the work (arXiv:2404.07724, where SDXL has 5.42)",
    unit: "sigma",
  }),
  guidanceUntil: sigma.optional().meta({
    description: "noise level at which guidance ends (the same, where SDXL has 0.28)",
    unit: "sigma",
  }),
  width: pixels.optional().meta({ description: "width of the picture", unit: "px" }),
  height: pixels.optional().meta({ description: "height of the picture", unit: "px" }),
  strength: z.number().min(0).max(1).optional().meta({
    description:
      "how much of a picture to start from is drawn anew, as a share of the steps (default 0.75, with a mask 1)",
  }),
  paddingMaskCrop: z.int().min(0).max(largestPadding).optional().meta({
    description:
      "draws the surroundings of the mask alone, with so much around it, at width x height, and puts them back into the picture, which keeps its size",
    unit: "px",
  }),
  maskedContent: z.enum(maskedContents).optional().meta({
    description:
      "what is under the mask before noise is added: the picture, colours from around it, noise or zeros (default original)",
    argument: "NAME",
  }),
  seed: z
    .int()
    .min(0)
    .max(largestSeed)
    .optional()
    .meta({ description: "where the noise starts; the same seed draws the same picture" }),
  count: z.int().min(1).max(64).default(1).meta({ description: "pictures to draw, picture i from seed + i" }),
  scheduler: z.enum(schedulerNames).optional().meta({ description: "the sampler", argument: "NAME" }),
  spacing: z
    .enum(spacings)
    .optional()
    .meta({ description: "how the timesteps are spread", argument: "NAME" }),
  sigmas: z
    .enum(sigmaNames)
    .optional()
    .meta({
      description: `noise levels of ${schedulerNames.filter(hasSigmas).join(", ")}: those of the timesteps, or a curve's`,
      argument: "NAME",
    }),
  timesteps: z
    .array(z.int().min(0).max(9999))
    .min(1)
    .max(1000)
    .refine((list) => list.every((t, i) => t < (list[i - 1] ?? Number.POSITIVE_INFINITY)))
    .optional()
    .meta({ description: "timesteps to visit, in place of steps and spacing", argument: "T,T,..." }),
  eta: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .meta({ description: "share of fresh noise in the steps of ddim (its own is 0) and tcd (0.3)" }),
  preview: z.boolean().default(false).meta({ description: "show rough pictures while denoising" }),
  precision: z.enum(precisionNames).optional().meta({
    description:
      "what networks compute in (bf16 is twice as fast where engine and CPU have it), or f32 with weights packed to 8 or 4 bits as they are loaded",
    argument: "NAME",
  }),
  originalSize: size
    .optional()
    .meta({ description: "size that the model is told the picture had (SDXL)", unit: "px", argument: "WxH" }),
  crop: z
    .strictObject({ left: conditionPixels, top: conditionPixels })
    .optional()
    .meta({ description: "crop that the model is told of (SDXL)", unit: "px", argument: "LEFT,TOP" }),
  targetSize: size
    .optional()
    .meta({ description: "size that the model is told to aim at (SDXL)", unit: "px", argument: "WxH" }),
} satisfies { readonly [K in keyof RequestInput]-?: z.ZodType<RequestInput[K]> };

const schema = z.strictObject(fields);

/** One field as a door shows it. */
export interface RequestField {
  readonly key: keyof RequestInput;
  /** Its command line flag, without dashes. */
  readonly flag: string;
  /** What the flag takes; null for a switch. */
  readonly argument: string | null;
  readonly kind: "text" | "number" | "choice" | "switch" | "size" | "offset" | "list";
  readonly description: string;
  /** The value where neither the request nor the model says one. */
  readonly fallback: number | boolean | undefined;
  /** The allowed values in words: "a whole number from 1 to 1000". */
  readonly allowed: string;
  /** Of a choice; empty for others. */
  readonly choices: readonly string[];
  /** Of a number, of the parts of a size or offset, and of the numbers of a list. */
  readonly least: number | undefined;
  readonly most: number | undefined;
  /** What numbers are multiples of: 1 for whole ones. */
  readonly multipleOf: number | undefined;
}

/** The part of a JSON Schema that our fields use, and our own notes in it. */
interface FieldSchema {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly multipleOf?: number;
  readonly maxLength?: number;
  /** Of a list. */
  readonly items?: FieldSchema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly properties?: Readonly<Record<string, FieldSchema>>;
  readonly default?: number | boolean;
  readonly description?: string;
  readonly unit?: string;
  readonly flag?: string;
  readonly argument?: string;
}

const fieldSchemas = (): FieldSchema => z.toJSONSchema(schema, { io: "input" }) as FieldSchema;

/** The request as JSON Schema: what a form is made from, and the API's description of itself. */
export const requestJsonSchema = (): Readonly<Record<string, unknown>> =>
  z.toJSONSchema(schema, { io: "input" }) as Readonly<Record<string, unknown>>;

/** The values that a field allows, in words. */
function allowed(field: FieldSchema): string {
  if (field.enum !== undefined) return `one of ${field.enum.join(", ")}`;
  const unit = field.unit === undefined ? "" : ` (${field.unit})`;
  switch (field.type) {
    case "string":
      return `text of at most ${field.maxLength} characters`;
    case "boolean":
      return "true or false";
    case "array": // the schema's own lists all fall
      return `a falling list of ${field.minItems} to ${field.maxItems}, each ${allowed(field.items ?? {})}`;
    case "integer":
    case "number": {
      const what =
        field.multipleOf !== undefined
          ? `a multiple of ${field.multipleOf}`
          : field.type === "integer"
            ? "a whole number"
            : "a number";
      return `${what} from ${field.minimum} to ${field.maximum}${unit}`;
    }
    default:
      return field.properties === undefined
        ? "an object"
        : `{ ${Object.keys(field.properties).join(", ")} }${unit}`;
  }
}

function kind(field: FieldSchema): RequestField["kind"] {
  if (field.enum !== undefined) return "choice";
  if (field.type === "boolean") return "switch";
  if (field.type === "string") return "text";
  if (field.type === "array") return "list";
  if (field.properties === undefined) return "number";
  return "width" in field.properties ? "size" : "offset";
}

/** Every field in the order of the schema. */
export function requestFields(): RequestField[] {
  return Object.entries(fieldSchemas().properties ?? {}).map(([key, field]) => ({
    key: key as keyof RequestInput,
    flag: field.flag ?? key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    argument:
      field.type === "boolean"
        ? null
        : (field.argument ?? (field.unit === undefined ? "N" : field.unit.toUpperCase())),
    kind: kind(field),
    description: field.description ?? "",
    fallback: field.default,
    allowed: allowed(field),
    choices: field.enum ?? [],
    ...bounds(field.items ?? Object.values(field.properties ?? {})[0] ?? field),
  }));
}

const bounds = ({ minimum, maximum, multipleOf, type }: FieldSchema) => ({
  least: minimum,
  most: maximum,
  multipleOf: multipleOf ?? (type === "integer" ? 1 : undefined),
});

const reach = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((v, key) => (v as Record<PropertyKey, unknown> | undefined)?.[key], value);

function unknownField(
  path: readonly PropertyKey[],
  name: string,
  nameOf: (key: string) => string,
): KoalaError {
  const known = Object.keys(
    (
      reach(
        fieldSchemas(),
        path.flatMap((key) => ["properties", key]),
      ) as FieldSchema
    ).properties ?? {},
  );
  const [near] = nearest(name, known);
  return new KoalaError("E_REQUEST", {
    where: [...path, name].join("."),
    expected: path.length === 0 ? "a field of a request" : `a field of ${path.join(".")}`,
    got: "an unknown name",
    hint:
      near === undefined
        ? `The fields are ${known.map(nameOf).join(", ")}.`
        : `Did you mean ${nameOf(near)}?`,
  });
}

/** What would have been right, where that can be told from what was wrong. */
function hintFor(field: FieldSchema, value: unknown): { hint?: string } {
  if (typeof value === "string" && field.enum !== undefined) {
    const [near] = nearest(value, field.enum);
    return near === undefined ? {} : { hint: `Did you mean ${near}?` };
  }
  const isLongSeed =
    field.maximum === largestSeed && Number.isSafeInteger(value) && Number(value) > largestSeed;
  return isLongSeed
    ? {
        hint: `torch reads the low 32 bits of a seed: ${Number(value) % (largestSeed + 1)} draws the same picture.`,
      }
    : {};
}

/**
 * Checks what came from outside. Leaves the fields open that a model fills; drops those given as `undefined`.
 * `nameOf` says what the caller calls a field (a flag, say), for the errors.
 * @throws KoalaError E_REQUEST that names the field, what it allows and what it got
 */
export function parseRequest(input: unknown, nameOf: (key: string) => string = (key) => key): RequestInput {
  const result = schema.safeParse(input);
  if (!result.success) {
    const issue = result.error.issues[0];
    const path = (issue?.path ?? []).filter((key) => typeof key !== "number"); // a list is told whole
    if (issue?.code === "unrecognized_keys") throw unknownField(path, issue.keys[0] ?? "", nameOf);
    const field = reach(
      fieldSchemas(),
      path.flatMap((key) => ["properties", key]),
    ) as FieldSchema;
    const value = reach(input, path);
    throw new KoalaError("E_REQUEST", {
      where: path.length === 0 ? "request" : [nameOf(String(path[0])), ...path.slice(1)].join("."),
      expected: path.length === 0 ? "an object with a prompt" : allowed(field),
      got: quoted(value),
      ...hintFor(field, value),
    });
  }
  const { seed, count, guidanceFrom, guidanceUntil, steps, timesteps } = result.data;
  check(steps === undefined || timesteps === undefined || steps === timesteps.length, "E_REQUEST", () => ({
    where: nameOf("steps"),
    expected: `none beside ${nameOf("timesteps")}, or ${timesteps?.length}, as many as there are`,
    got: String(steps),
  }));
  check(seed === undefined || seed + count - 1 <= largestSeed, "E_REQUEST", () => ({
    where: nameOf("count"),
    expected: `at most ${largestSeed - (seed ?? 0) + 1} from seed ${seed} on, since seeds end at ${largestSeed}`,
    got: String(count),
  }));
  check(
    guidanceFrom === undefined || guidanceUntil === undefined || guidanceFrom > guidanceUntil,
    "E_REQUEST",
    () => ({
      where: nameOf("guidanceFrom"),
      expected: `more than ${nameOf("guidanceUntil")}, ${guidanceUntil}, since noise falls from step to step`,
      got: String(guidanceFrom),
      hint: `To draw without guidance, set ${nameOf("guidance")} to 1.`,
    }),
  );
  return Object.fromEntries(
    Object.entries(result.data).filter(([, value]) => value !== undefined),
  ) as unknown as RequestInput;
}

/** Whether the sampler follows the spacing: LCM and TCD visit what was distilled on, and Karras' levels span the whole table. */
export const hasSpacing = (scheduler: SchedulerName): boolean =>
  scheduler !== "lcm" && scheduler !== "tcd" && !isKarras(scheduler);

/** The curve that lays the noise levels, of a request that names one with a sampler that follows it. */
export const curveOf = ({ scheduler, sigmas }: Pick<Request, "scheduler" | "sigmas">): Curve | undefined =>
  hasSigmas(scheduler) && sigmas !== "timesteps" ? sigmas : undefined;

/** Whether the share of fresh noise is the request's to say. */
export const hasEta = (scheduler: SchedulerName): boolean => scheduler === "ddim" || scheduler === "tcd";

/** "999, 749" as a list; text that is none stays text, for the schema to refuse it. */
export function listFromText(text: string): number[] | string {
  const list = text.trim().split(/[, ]+/);
  return list.every((part) => /^\d+$/.test(part)) ? list.map(Number) : text;
}

/** Of a request that names none. */
export const usualSpacing = (
  { usualSpacings, spacing }: Pick<Defaults, "usualSpacings" | "spacing">,
  scheduler: string,
): string => usualSpacings?.[scheduler] ?? spacing;

/** A seed for a request that names none; it leaves room for `count` pictures. */
export const randomSeed = (): number => Math.floor(Math.random() * (largestSeed - 64));

/**
 * The request with every open field taken from the model, and a random seed where none is given.
 * @throws KoalaError E_REQUEST
 */
export function resolveRequest(input: RequestInput, defaults: Defaults): Request {
  const { prompt: _, ...said } = parseRequest(input);
  const { guidance, width, height, scheduler, negativePrompt } = defaults;
  const steps = said.timesteps?.length ?? defaults.steps;
  const spacing = usualSpacing(defaults, said.scheduler ?? scheduler);
  const model = { steps, guidance, width, height, scheduler, spacing, negativePrompt };
  return parseRequest({ prompt: input.prompt, ...model, seed: randomSeed(), ...said }) as Request;
}
