/**
 * Which family a folder belongs to, and so how it is used well: steps, guidance, spacing, negative prompt.
 * Read off the shape of its U-Net first, then off the names that its files and its place carry, then off its scheduler.
 */

import { type JsonObject, jsonObject } from "./config.ts";
import { ditConfig } from "./dit-config.ts";
import { presetNames, presets } from "./presets.ts";
import { type UNetConfig, unetConfig } from "./unet-config.ts";

export type Family =
  | "koala"
  | "koala-lightning"
  | "koala-small"
  | "sdxl"
  | "sdxl-turbo"
  | "sdxl-lightning"
  | "ssd-1b"
  | "vega"
  | "sd1"
  | "sd2"
  | "sd-turbo"
  | "bk-sdm"
  | "lcm"
  | "pixart-alpha"
  | "pixart-sigma"
  | "pixart-lcm";

/** What is known of a folder before its weights are read. */
export interface FolderFacts {
  /** Its path or hub id. */
  readonly location: string;
  /** model_index.json; null for a lone checkpoint. */
  readonly modelIndex: unknown;
  /** unet/config.json, as it stands; absent where there is a transformer. */
  readonly unet?: unknown;
  /** transformer/config.json, likewise. */
  readonly transformer?: unknown;
  /** scheduler/scheduler_config.json. */
  readonly scheduler: unknown;
  /** Height and width of a picture in units of its latent's. */
  readonly factor: number;
}

/** What a request leaves open. `scheduler` and `spacing` are names as requests have them. */
export interface ModelDefaults {
  readonly family: Family;
  readonly steps: number;
  /** 0 or 1: none. */
  readonly guidance: number;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  readonly scheduler: string;
  readonly spacing: string;
  /** By name, the spacings that other schedulers have of their own; absent where the model says one for all of them. */
  readonly usualSpacings?: Readonly<Record<string, string>>;
  readonly negativePrompt?: string;
  /** What the network predicts: `epsilon`, `v_prediction` or `sample`. */
  readonly prediction: string;
}

interface Use {
  readonly steps: number;
  readonly guidance: number;
  /** Instead of what the scheduler's file says. */
  readonly scheduler?: string;
  /** Likewise. */
  readonly spacing?: string;
  readonly negativePrompt?: string;
}

/** https://huggingface.co/etri-vilab/koala-700m, the card's example. */
const KOALA_NEGATIVE = "worst quality, low quality, illustration, low resolution";

const uses: Readonly<Record<Family, Use>> = {
  // https://github.com/youngwanLEE/sdxl-koala at 94e05b7: Euler, 25 steps, guidance 7.5.
  koala: { steps: 25, guidance: 7.5, negativePrompt: KOALA_NEGATIVE },
  // The same at a3f7bc3: Euler with trailing timesteps, though the scheduler's file says leading.
  "koala-lightning": { steps: 10, guidance: 3.5, spacing: "trailing", negativePrompt: KOALA_NEGATIVE },
  // This project's own models in KOALA's shape, and how they were judged: 20 steps, guidance 3.5.
  "koala-small": { steps: 20, guidance: 3.5 },
  // diffusers' StableDiffusionXLPipeline: 50 steps, guidance 5.
  sdxl: { steps: 50, guidance: 5 },
  // https://huggingface.co/stabilityai/sdxl-turbo: 1 to 4 steps without guidance.
  "sdxl-turbo": { steps: 4, guidance: 0, spacing: "trailing" },
  // https://huggingface.co/ByteDance/SDXL-Lightning: as many steps as the file's name says, without guidance.
  "sdxl-lightning": { steps: 4, guidance: 0, spacing: "trailing" },
  // https://huggingface.co/segmind/SSD-1B: "negative prompts and a CFG around 9"; the negative prompt is its example's.
  "ssd-1b": { steps: 50, guidance: 9, negativePrompt: "ugly, blurry, poor quality" },
  // https://huggingface.co/segmind/Segmind-Vega, the same advice.
  vega: { steps: 50, guidance: 9 },
  // diffusers' StableDiffusionPipeline: 50 steps, guidance 7.5; the README of BK-SDM keeps them.
  sd1: { steps: 50, guidance: 7.5 },
  sd2: { steps: 50, guidance: 7.5 },
  // https://huggingface.co/stabilityai/sd-turbo: 1 to 4 steps without guidance.
  "sd-turbo": { steps: 4, guidance: 0, spacing: "trailing" },
  "bk-sdm": { steps: 50, guidance: 7.5 },
  // diffusers' LatentConsistencyModelPipeline: 4 steps, guidance 8.5, which its U-Net is told. A U-Net that comes alone
  // (latent-consistency/lcm-sdxl) is completed by its teacher, whose scheduler cannot draw with it.
  lcm: { steps: 4, guidance: 8.5, scheduler: "lcm" },
  // diffusers' PixArtAlphaPipeline and PixArtSigmaPipeline: 20 steps, guidance 4.5.
  "pixart-alpha": { steps: 20, guidance: 4.5 },
  "pixart-sigma": { steps: 20, guidance: 4.5 },
  // https://huggingface.co/PixArt-alpha/PixArt-LCM-XL-2-1024-MS: 4 steps without guidance.
  "pixart-lcm": { steps: 4, guidance: 0 },
};

/** Where model_index.json says how a model that was trained here is used; diffusers passes over names that begin so. */
export const USE_RECORD = "_koala";

/** A model's own record of its use, or nothing. */
function recordedUse(modelIndex: unknown): Partial<Pick<Use, "steps" | "guidance">> {
  const record = (modelIndex as JsonObject | null)?.[USE_RECORD] as JsonObject | null | undefined;
  const { steps, guidance } = record ?? {};
  return {
    ...(Number.isInteger(steps) && (steps as number) > 0 ? { steps: steps as number } : {}),
    ...(typeof guidance === "number" && guidance >= 0 ? { guidance } : {}),
  };
}

/** Classes of diffusers, the name of their sampler here, and the spacing that they have where the file is silent. */
const schedulers: Readonly<Record<string, readonly [name: string, spacing: string]>> = {
  EulerDiscreteScheduler: ["euler", "linspace"],
  EulerAncestralDiscreteScheduler: ["euler-a", "linspace"],
  HeunDiscreteScheduler: ["heun", "linspace"],
  DDIMScheduler: ["ddim", "leading"],
  PNDMScheduler: ["pndm", "leading"],
  DPMSolverMultistepScheduler: ["dpmpp-2m", "linspace"],
  UniPCMultistepScheduler: ["unipc", "linspace"],
  LCMScheduler: ["lcm", "leading"],
  TCDScheduler: ["tcd", "leading"],
};

/** What DPM-Solver's options are called together. */
function dpmName({
  algorithm_type: algorithm,
  solver_order: order,
  use_karras_sigmas: karras,
}: JsonObject): string {
  const isStochastic = algorithm === "sde-dpmsolver++";
  if (order === 3 && !isStochastic) return "dpmpp-3m";
  return `dpmpp-2m${isStochastic ? "-sde" : ""}${karras === true ? "-karras" : ""}`;
}

/** Those spacings by the names of requests. */
const usualSpacings: Readonly<Record<string, string>> = {
  ...Object.fromEntries(Object.values(schedulers)),
  ...{ "dpmpp-2m-karras": "linspace", "dpmpp-2m-sde": "linspace", "dpmpp-2m-sde-karras": "linspace" },
  "dpmpp-3m": "linspace",
};

/**
 * How the model in that folder is used unless a request says otherwise.
 * A scheduler class that is not known is passed on by its own name, for the request's check to name it.
 * @throws KoalaError E_CONFIG
 */
export function defaultsFor(facts: FolderFacts): ModelDefaults {
  const network = networkOf(facts);
  const scheduler =
    facts.scheduler == null ? {} : jsonObject(facts.scheduler, "scheduler/scheduler_config.json");
  const className = text(scheduler._class_name) ?? "EulerDiscreteScheduler";
  const [sampler, usual] = schedulers[className] ?? [className, "leading"];
  const names = namesOf(facts);
  const family = network.family(names, className);
  const use = uses[family];

  const distilledSteps =
    family === "sdxl-lightning" ? Number(/([1248])[-_]?step/.exec(names)?.[1] ?? use.steps) : use.steps;
  // The one-step SDXL-Lightning predicts the picture itself (its file is called …_1step_unet_x0).
  const isOneStep = family === "sdxl-lightning" && distilledSteps === 1;
  const prediction = isOneStep ? "sample" : (text(scheduler.prediction_type) ?? "epsilon");
  // A consistency model that is not told the guidance scale was distilled with it inside.
  const guidance = family === "lcm" && !network.isToldGuidance ? 1 : use.guidance;
  const cells = network.sampleSize(prediction);
  const px = (isFirstTurbo(names) ? Math.min(TURBO_CELLS, cells) : cells) * facts.factor;
  const said = use.spacing ?? text(scheduler.timestep_spacing);
  const own = sampler === "dpmpp-2m" ? dpmName(scheduler) : sampler;
  return {
    family,
    steps: distilledSteps,
    guidance,
    ...recordedUse(facts.modelIndex),
    width: px,
    height: px,
    scheduler: use.scheduler ?? own,
    spacing: said ?? usual,
    ...(said === undefined ? { usualSpacings } : {}),
    prediction,
    ...(use.negativePrompt === undefined ? {} : { negativePrompt: use.negativePrompt }),
  };
}

/** SDXL-Turbo itself, of 512 px, which a single file does not say; models made of it mostly draw 1024 px. */
const isFirstTurbo = (names: string): boolean => /sd_?xl[-_]turbo/.test(names);
const TURBO_CELLS = 64;

/** What of the denoiser's config the defaults rest on. */
interface NetworkFacts {
  readonly isToldGuidance: boolean;
  /** In latent cells. */
  sampleSize(prediction: string): number;
  family(names: string, scheduler: string): Family;
}

function networkOf({ unet, transformer, modelIndex }: FolderFacts): NetworkFacts {
  const className = text((modelIndex as JsonObject | null)?._class_name);
  if (transformer === undefined) {
    const c = unetConfig(unet);
    return {
      isToldGuidance: c.guidanceChannels !== null,
      sampleSize: (prediction) =>
        isOldSize(unet, className) ? 64 : (c.sampleSize ?? usualSize(c, prediction)),
      family: (names, scheduler) => familyOf(c, names, scheduler),
    };
  }
  const c = ditConfig(transformer);
  return {
    isToldGuidance: false,
    sampleSize: () => c.sampleSize,
    family(_, scheduler) {
      if (scheduler === "LCMScheduler") return "pixart-lcm";
      return className === "PixArtAlphaPipeline" ? "pixart-alpha" : "pixart-sigma";
    },
  };
}

/** Conversions by diffusers before 0.9 wrote 32 for 512 px, which `StableDiffusionPipeline.__init__` corrects. */
function isOldSize(unet: unknown, className: string | undefined): boolean {
  const { _diffusers_version: version, sample_size: size } = unet as JsonObject;
  const isOld = typeof version === "string" && /^0\.[0-8]\./.test(version);
  return className === "StableDiffusionPipeline" && isOld && typeof size === "number" && size < 64;
}

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

/** In latent cells, where the config says none: 1024 px for SDXL's relatives, 768 px where v is predicted (SD 2), else 512 px. */
function usualSize(c: UNetConfig, prediction: string): number {
  if (c.added !== null) return 128;
  return prediction === "v_prediction" ? 96 : 64;
}

/** A hub id from its name on, with the revision and file that it may have: the owner says nothing of the model. */
const HUB_ID = /^\w[\w.-]*\/(\w[\w.-]*(?:@[\w.-]+)?(?:\/[^\\]+\.safetensors)?)$/;

/** A folder or file in a hub cache, from the id on. */
const HUB_CACHE = /(?:^|\/)(models--[^/]+\/snapshots\/.+)$/;

/** What of a place names the model: of a path the last part, since folders above hold other models too. */
function placeOf(location: string): string {
  const path = location.replaceAll("\\", "/").replace(/(\/(unet|transformer))?\/*$/, "");
  return HUB_CACHE.exec(path)?.[1] ?? HUB_ID.exec(location)?.[1] ?? path.split("/").at(-1) ?? "";
}

/** The model's place and the names in its files, in lower case. */
function namesOf({ location, modelIndex, unet, transformer }: FolderFacts): string {
  const inFile = (json: unknown) => text((json as JsonObject | null)?._name_or_path) ?? "";
  return [placeOf(location), inFile(modelIndex), inFile(unet ?? transformer)].join(" ").toLowerCase();
}

/** Levels, heads and depths: what tells published U-Nets apart. */
const shapeOf = ({ down, mid, up, textChannels }: UNetConfig): string =>
  JSON.stringify({ down, mid, up, textChannels });

const byPreset = (name: string): Family | null => {
  if (name.startsWith("koala")) return "koala";
  if (name.startsWith("bk-sdm")) return "bk-sdm";
  const families: Readonly<Record<string, Family>> = {
    sdxl: "sdxl",
    "ssd-1b": "ssd-1b",
    vega: "vega",
    sd15: "sd1",
    sd2: "sd2",
  };
  return families[name] ?? null;
};

/** The family by shape alone: a published one, or its nearest kind. */
function shapeFamily(config: UNetConfig): Family {
  const shape = shapeOf(config);
  for (const name of presetNames) {
    const family = byPreset(name);
    if (family !== null && shapeOf(unetConfig(presets[name].unet)) === shape) return family;
  }
  if (config.added === null) return config.linearProjection ? "sd2" : "sd1";
  const hasOneLayer = config.down.every((level) => level.depths.length === 1);
  return hasOneLayer && config.down.length === 3 ? "koala-small" : "sdxl";
}

function familyOf(config: UNetConfig, names: string, scheduler: string): Family {
  if (config.guidanceChannels !== null || scheduler === "LCMScheduler") return "lcm";
  const family = shapeFamily(config);
  if (family === "sd2" && names.includes("turbo")) return "sd-turbo";
  if (family === "koala" && names.includes("lightning")) return "koala-lightning";
  if (family !== "sdxl") return family;
  if (names.includes("lightning")) return "sdxl-lightning";
  const isTurbo =
    names.includes("turbo") || (scheduler.startsWith("EulerAncestral") && config.sampleSize === 64);
  return isTurbo ? "sdxl-turbo" : "sdxl";
}
