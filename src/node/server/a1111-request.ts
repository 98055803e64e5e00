/**
 * What A1111's clients ask for, as fields and options of ours. Their bodies name every setting of the web UI: those that
 * we have not pass with the value that changes nothing, and are refused with any other.
 */

import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { quoted } from "../../core/quoted.ts";
import type { Curve } from "../../diffusion/plans.ts";
import { hasSigmas, isKarras, type SchedulerName, schedulerNames } from "../../diffusion/scheduler.ts";
import { longestText, type Request, type Spacing, spacings } from "../../pipeline/request.ts";
import {
  curveOfType,
  curveTypes,
  type Sampling,
  samplers,
  samplingOf,
  scheduleTypes,
} from "../../pipeline/request-text.ts";
import { withWrittenWeights } from "./a1111-prompt.ts";
import type { JsonObject } from "./body.ts";
import type { Models } from "./models.ts";

/** The web UI's names for fields of ours. */
const names: Readonly<Record<string, string>> = {
  negativePrompt: "negative_prompt",
  guidance: "cfg_scale",
  scheduler: "sampler_name",
  count: "batch_size",
  clipSkip: "CLIP_stop_at_last_layers",
  strength: "denoising_strength",
  paddingMaskCrop: "inpaint_full_res_padding",
  maskedContent: "inpainting_fill",
  image: "init_images",
};
export const nameOf = (key: string): string => names[key] ?? key;

/** With these the picture would be another one than asked for. */
const refused: readonly (readonly [
  field: string,
  isNeutral: (value: unknown) => boolean,
  expected: string,
])[] = [
  ["enable_hr", (v) => v === false, "false"],
  ["restore_faces", (v) => v === false, "false"],
  ["tiling", (v) => v === false, "false"],
  ["styles", (v) => Array.isArray(v) && v.length === 0, "none"],
  ["subseed_strength", (v) => v === 0, "0"],
  ["seed_resize_from_h", (v) => typeof v === "number" && v <= 0, "0"],
  ["seed_resize_from_w", (v) => typeof v === "number" && v <= 0, "0"],
  ["refiner_checkpoint", (v) => v === "" || v === "None", "none"],
  ["s_churn", (v) => v === 0, "0"], // s_tmin and s_tmax bound it
  ["s_noise", (v) => v === 1, "1"],
  ["s_min_uncond", (v) => v === 0, "0"],
  ["script_name", (v) => v === "", "none"],
  ["alwayson_scripts", hasNoScripts, "scripts without arguments"],
];

/** Clients send empty entries of extensions that they know. */
function hasNoScripts(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    Object.values(value).every((script) => {
      const args = (script as { args?: unknown } | null)?.args;
      return args === undefined || (Array.isArray(args) && args.length === 0);
    })
  );
}

/** Samplers with fresh noise in every step, and all of it. */
const noisy: readonly SchedulerName[] = ["euler-a", "dpmpp-2m-sde", "dpmpp-2m-sde-karras"];

/**
 * Fresh noise of a step, which some samplers have and others not; clients send 1 to every one, asked or not.
 * @throws KoalaError E_REQUEST
 */
export function checkEta(eta: unknown, scheduler: SchedulerName): void {
  const neutral = noisy.includes(scheduler) ? [1] : [0, 1];
  check(!isGiven(eta) || neutral.includes(eta as number), "E_REQUEST", () => ({
    where: "eta",
    expected: `${neutral.join(" or ")} with ${samplers[scheduler]}`,
    got: quoted(eta),
  }));
}

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;

/** A schedule type by its label or its name: "SGM Uniform", "sgm_uniform". */
const typeNamed = (text: string): string => text.toLowerCase().replaceAll("_", " ");

/** The schedule types that are known here. */
export const scheduleLabels: readonly string[] = [
  "Automatic",
  ...Object.values(curveTypes),
  ...Object.values(scheduleTypes),
];

/** A schedule type: the web UI's own choice, a curve of noise levels, or one of our spacings. @throws KoalaError E_REQUEST */
function typeOf(type: unknown): { readonly curve?: Curve; readonly spacing?: Spacing } {
  const wanted = typeof type === "string" ? typeNamed(type) : "";
  if (!isGiven(type) || type === "" || wanted === "automatic") return {};
  const curve = curveOfType(wanted);
  if (curve !== undefined) return { curve };
  const spacing = spacings.find((one) => typeNamed(scheduleTypes[one]) === wanted);
  if (spacing !== undefined) return { spacing };
  throw new KoalaError("E_REQUEST", {
    where: "scheduler",
    expected: `one of ${scheduleLabels.join(", ")}`,
    got: quoted(type),
  });
}

/** One of ours by its name in the web UI (of version 1.9 on, or with the schedule in it as before) or our own. */
function samplerFrom(sampler: unknown, curve: Curve | undefined): Sampling {
  const wanted = typeof sampler === "string" ? sampler.toLowerCase() : "";
  const own = schedulerNames.find((name) => name === wanted);
  const label = own === undefined ? wanted : samplers[own];
  const chosen = samplingOf(label, curve ?? (own !== undefined && isKarras(own) ? "karras" : undefined));
  if (chosen !== undefined) return chosen;
  throw new KoalaError("E_REQUEST", {
    where: "sampler_name",
    expected: `one of ${[...new Set(Object.values(samplers))].join(", ")}`,
    got: quoted(sampler),
  });
}

const withCurves = [...new Set(schedulerNames.filter(hasSigmas).map((name) => samplers[name]))];

/** A schedule type that the sampler, named or the model's own, cannot follow. @throws KoalaError E_REQUEST */
export function checkCurve({ scheduler, sigmas }: Pick<Request, "scheduler" | "sigmas">): void {
  const curve = sigmas === undefined || sigmas === "timesteps" ? null : curveTypes[sigmas];
  check(curve === null || hasSigmas(scheduler), "E_REQUEST", () => ({
    where: "scheduler",
    expected: `${curve} with sampler_name ${withCurves.join(", ")} alone`,
    got: `it with ${quoted(samplers[scheduler])}`,
  }));
}

/** A prompt in our words; what is none, or too long for one, is left to the schema to refuse. */
const promptFrom = (value: unknown): unknown =>
  typeof value === "string" && value.length <= longestText ? withWrittenWeights(value) : value;

/** The fields of a request that are in a txt2img body. @throws KoalaError E_REQUEST */
export function read(body: JsonObject): JsonObject {
  for (const [field, isNeutral, expected] of refused) {
    const value = body[field];
    check(!isGiven(value) || isNeutral(value), "E_REQUEST", () => ({
      where: field,
      expected,
      got: quoted(value),
    }));
  }
  const pairs: [string, unknown][] = [
    ["prompt", promptFrom(body.prompt ?? "")],
    ["negativePrompt", body.negative_prompt === "" ? undefined : promptFrom(body.negative_prompt)], // "": the model's own idea
    ["steps", body.steps],
    ["guidance", body.cfg_scale],
    ["width", body.width],
    ["height", body.height],
    ["seed", body.seed === -1 ? undefined : body.seed],
  ];
  const { curve, spacing } = typeOf(body.scheduler);
  const sampler = body.sampler_name ?? body.sampler_index;
  const sampling = isGiven(sampler) ? samplerFrom(sampler, curve) : { sigmas: curve };
  pairs.push(...Object.entries(sampling), ["spacing", spacing]);
  const counts = [body.batch_size, body.n_iter].filter(isGiven);
  const wrong = counts.find((n) => !Number.isInteger(n)); // may be anything: not even a number can be made of some
  if (wrong !== undefined) pairs.push(["count", wrong]);
  else if (counts.length > 0) pairs.push(["count", counts.reduce<number>((all, n) => all * Number(n), 1)]);
  return Object.fromEntries(pairs.filter(([, value]) => isGiven(value)));
}

/** The options that mean something here. */
export interface Options {
  readonly sd_model_checkpoint?: string;
  readonly live_previews_enable?: boolean;
  /** The layer of CLIP that is read, from 1, its last. */
  readonly CLIP_stop_at_last_layers?: number;
}

/** SD 1's text encoder has as many layers, and the web UI's slider as many places. */
const mostClipLayers = 12;

/** Options that clients set whether or not they want anything, with the values that change nothing here. */
const neutralOptions: ReadonlyMap<string, readonly unknown[]> = new Map([
  ["sd_vae", ["Automatic", "None"]], // the model's own
  ["eta_noise_seed_delta", [0]],
  ["samples_format", ["png"]],
]);

/** The field of a request that options set. */
export const clipSkipFrom = ({ CLIP_stop_at_last_layers: layer = 1 }: Options): JsonObject =>
  layer === 1 ? {} : { clipSkip: layer - 1 };

/** The options that a body sets; `within` is the field that they are in. @throws KoalaError E_REQUEST, E_MODEL */
export function optionsFrom(body: unknown, models: Models, within?: string): Options {
  check(typeof body === "object" && body !== null && !Array.isArray(body), "E_REQUEST", () => ({
    where: within ?? "body",
    expected: "a JSON object",
    got: quoted(body),
  }));
  const {
    sd_model_checkpoint: name,
    live_previews_enable: previews,
    CLIP_stop_at_last_layers: clipLayer,
    ...rest
  } = body as JsonObject;
  const called = (option: string): string => (within === undefined ? option : `${within}.${option}`);
  const isNeutral = ([option, value]: [string, unknown]): boolean =>
    neutralOptions.get(option)?.some((one) => one === value || !isGiven(value)) ?? false;
  const unknown = Object.entries(rest).find((entry) => !isNeutral(entry));
  check(unknown === undefined, "E_REQUEST", () => ({
    where: called(unknown?.[0] ?? "").slice(0, 80),
    expected:
      "sd_model_checkpoint, live_previews_enable or CLIP_stop_at_last_layers, the options of this server",
    got: "another one",
  }));
  check(!isGiven(previews) || typeof previews === "boolean", "E_REQUEST", () => ({
    where: called("live_previews_enable"),
    expected: "true or false",
    got: quoted(previews),
  }));
  const isLayer =
    Number.isInteger(clipLayer) && Number(clipLayer) >= 1 && Number(clipLayer) <= mostClipLayers;
  check(!isGiven(clipLayer) || isLayer, "E_REQUEST", () => ({
    where: called("CLIP_stop_at_last_layers"),
    expected: `a whole number from 1 to ${mostClipLayers}`,
    got: quoted(clipLayer),
  }));
  return {
    ...(isGiven(name) ? { sd_model_checkpoint: models.named(name, called("sd_model_checkpoint")).name } : {}),
    ...(typeof previews === "boolean" ? { live_previews_enable: previews } : {}),
    ...(isLayer ? { CLIP_stop_at_last_layers: Number(clipLayer) } : {}),
  };
}
