/**
 * What a picture remembers of its making, as text. `parameters` is the line format of A1111's web UI, which most tools
 * and galleries read; `koala` is the whole request as JSON, which repeats a picture exactly.
 */

import { check } from "../core/assert.ts";
import { shortened } from "../core/quoted.ts";
import { type Curve, curveNames } from "../diffusion/plans.ts";
import { hasSigmas, isKarras, type SchedulerName } from "../diffusion/scheduler.ts";
import { foreignSyntax } from "./foreign-syntax.ts";
import {
  curveOf,
  hasEta,
  hasSpacing,
  listFromText,
  type MaskedContent,
  parseRequest,
  type Request,
  type RequestInput,
  type Spacing,
} from "./request.ts";

/** The web UI's names of our samplers. */
export const samplers: Readonly<Record<SchedulerName, string>> = {
  euler: "Euler",
  "euler-a": "Euler a",
  heun: "Heun",
  ddim: "DDIM",
  pndm: "PLMS",
  "dpmpp-2m": "DPM++ 2M",
  "dpmpp-2m-karras": "DPM++ 2M",
  "dpmpp-2m-sde": "DPM++ 2M SDE",
  "dpmpp-2m-sde-karras": "DPM++ 2M SDE",
  "dpmpp-3m": "DPM++ 3M",
  unipc: "UniPC",
  lcm: "LCM",
  tcd: "TCD",
};

/** The web UI's schedule types that give the timesteps of our spacings. */
export const scheduleTypes: Readonly<Record<Spacing, string>> = {
  leading: "DDIM",
  trailing: "SGM Uniform",
  linspace: "Uniform",
};

/** The web UI's schedule types that are curves of ours. */
export const curveTypes: Readonly<Record<Curve, string>> = {
  karras: "Karras",
  exponential: "Exponential",
  beta: "Beta",
};

/** The web UI's names of what stands under a mask. */
const maskedContentNames: Readonly<Record<MaskedContent, string>> = {
  original: "original",
  fill: "fill",
  noise: "latent noise",
  nothing: "latent nothing",
};

/** What is recorded beside the request. */
export interface Maker {
  /** Hub id, or the folder's own name: never a path of this machine. */
  readonly model: string;
  /** Version of this package. */
  readonly version: string;
  /** Adapters that were added, `name:weight` each; absent: none. */
  readonly loras?: readonly string[];
}

/** The web UI quotes a value as JSON where it would be mistaken for structure. */
const quote = (value: string): string => (/[,\n:]/.test(value) ? JSON.stringify(value) : value);

/** The `parameters` text. */
export function parametersText(r: Request, maker: Maker): string {
  const spacing = hasSpacing(r.scheduler) && r.timesteps === undefined ? scheduleTypes[r.spacing] : undefined;
  const curve = isKarras(r.scheduler) ? "karras" : curveOf(r);
  const type = curve === undefined ? spacing : curveTypes[curve];
  const values: Record<string, string> = {
    Steps: String(r.steps),
    Sampler: samplers[r.scheduler],
    ...(type === undefined ? {} : { "Schedule type": type }),
    ...(r.timesteps === undefined ? {} : { Timesteps: r.timesteps.join(" ") }),
    ...(r.eta === undefined ? {} : { [r.scheduler === "ddim" ? "Eta DDIM" : "Eta"]: String(r.eta) }),
    "CFG scale": String(r.guidance),
    ...(r.clipSkip === undefined || r.clipSkip === 0 ? {} : { "Clip skip": String(r.clipSkip + 1) }),
    Seed: String(r.seed),
    Size: `${r.width}x${r.height}`,
    Model: maker.model,
    ...(maker.loras === undefined ? {} : { Loras: maker.loras.join(", ") }),
    ...(r.precision === undefined ? {} : { Precision: r.precision }),
    ...(r.strength === undefined ? {} : { "Denoising strength": String(r.strength) }),
    ...(r.paddingMaskCrop === undefined
      ? {}
      : { "Inpaint area": "Only masked", "Masked area padding": String(r.paddingMaskCrop) }),
    ...(r.maskedContent === undefined || r.maskedContent === "original"
      ? {}
      : { "Masked content": maskedContentNames[r.maskedContent] }),
    ...(r.guidanceRescale === 0 ? {} : { "CFG Rescale": String(r.guidanceRescale) }),
    Version: `koala-diffusion ${maker.version}`,
  };
  const line = Object.entries(values).map(([name, value]) => `${name}: ${quote(value)}`);
  const negative =
    r.negativePrompt === undefined || r.negativePrompt === "" ? [] : [`Negative prompt: ${r.negativePrompt}`];
  return [r.prompt, ...negative, line.join(", ")].join("\n").trim();
}

/** The text chunks of a picture of this request: `count` is 1 there, since a picture records only itself. */
export function pictureText(request: Request, maker: Maker): { parameters: string; koala: string } {
  const { preview: _, ...kept } = request;
  const own = { ...kept, count: 1 };
  return { parameters: parametersText(request, maker), koala: JSON.stringify({ ...maker, request: own }) };
}

export interface Recorded {
  readonly request: RequestInput;
  /** Absent in pictures whose maker did not say. */
  readonly model?: string;
  /** `name:weight` each. */
  readonly loras?: readonly string[];
  /**
   * What its maker did that is not done here, as "Hires upscale: 2" or "BREAK in the prompt", which is a word here: the request
   * alone draws another picture. Absent: nothing.
   */
  readonly missing?: readonly string[];
}

/** A sampler of ours, and the curve of its noise levels where its name does not say it. */
export interface Sampling {
  readonly scheduler: SchedulerName;
  readonly sigmas?: Curve;
}

/** The curve that a schedule type of the web UI is, in any case. */
export const curveOfType = (type: string): Curve | undefined =>
  curveNames.find((name) => curveTypes[name].toLowerCase() === type.toLowerCase());

/**
 * One of ours by its name in the web UI, of version 1.9 on or with the schedule in it as before, in any case; undefined: none.
 * `type` is the schedule type, where one is told.
 */
export function samplingOf(sampler: string, type = ""): Sampling | undefined {
  const [, plain = "", inName = ""] = /^(.*?)(?: (karras|exponential))?$/.exec(sampler.toLowerCase()) ?? [];
  const curve = curveOfType(type) ?? curveOfType(inName);
  const alike = (Object.keys(samplers) as SchedulerName[]).filter(
    (name) => samplers[name].toLowerCase() === plain,
  );
  const ofKarras = curve === "karras" ? alike.find(isKarras) : undefined;
  if (ofKarras !== undefined) return { scheduler: ofKarras };
  const scheduler = alike.find((name) => !isKarras(name));
  if (scheduler === undefined) return undefined;
  return curve === undefined ? { scheduler } : { scheduler, sigmas: curve };
}

/**
 * Fields of the web UI that change the picture by what we do not do, unless they are as here; null: whatever they are. Denoising
 * strength is that of a picture drawn over, or of its own enlarged; older versions wrote 0 where there was neither.
 */
const foreign: Readonly<Record<string, string | null>> = {
  "Hires upscale": "1",
  "Face restoration": "none",
  "Variation seed strength": "0",
  Refiner: "none",
  Tiling: "False",
  Eta: "0",
  "Denoising strength": "0",
  "Mask blur": null,
  "Lora hashes": null,
  "TI hashes": null,
};

/** ControlNet's extension writes a field a unit, or a field a setting in older versions. */
const isControlNet = (name: string): boolean => name.startsWith("ControlNet");

/** `parameters` text of any tool → the fields that we share with it, and what we do not share. */
function readParameters(text: string): Recorded {
  const lines = text.trim().split("\n");
  const values = new Map<string, string>();
  const last = lines.at(-1) ?? "";
  const hasValues = /\bSteps: \d/.test(last);
  if (hasValues) {
    for (const [, name = "", value = ""] of last.matchAll(
      /\s*(\w[\w \-/]*): *("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)/g,
    )) {
      values.set(name, value.trim());
    }
  }
  const body = (hasValues ? lines.slice(0, -1) : lines).join("\n");
  const [prompt = "", negative] = body.split(/(?:^|\n)Negative prompt: ?/);
  const number = (name: string): number | undefined => {
    const value = values.get(name);
    return value === undefined ? undefined : Number(value);
  };
  const lastLayer = number("Clip skip") ?? 1;
  const type = values.get("Schedule type");
  const sampler = values.get("Sampler");
  const sampling = sampler === undefined ? undefined : samplingOf(sampler, type);
  const { scheduler, sigmas } = sampling ?? {};
  const isCurveLost = sigmas !== undefined && scheduler !== undefined && !hasSigmas(scheduler);
  const timesteps = values.get("Timesteps");
  const isEtaRead = scheduler !== undefined && hasEta(scheduler);
  const eta = isEtaRead ? (number("Eta DDIM") ?? number("Eta")) : undefined;
  const spacing = (Object.keys(scheduleTypes) as Spacing[]).find((name) => scheduleTypes[name] === type);
  const [width, height] = values.get("Size")?.split("x").map(Number) ?? [];
  const model = values.get("Model");
  const request = parseRequest({
    prompt: prompt.trim(),
    negativePrompt: negative?.trim(),
    steps: number("Steps"),
    guidance: number("CFG scale"),
    guidanceRescale: number("CFG Rescale"),
    clipSkip: lastLayer === 1 ? undefined : lastLayer - 1, // the web UI counts from 1, the last layer
    ...{ seed: number("Seed"), width, height, scheduler, spacing, eta },
    sigmas: isCurveLost ? undefined : sigmas,
    timesteps: timesteps === undefined ? undefined : listFromText(timesteps),
  });
  const isOurs = values.get("Version")?.startsWith("koala-diffusion") === true; // then all that its prompt says was done
  const isTypeKnown =
    type === undefined ||
    spacing !== undefined ||
    /^automatic$/i.test(type) ||
    curveOfType(type) !== undefined;
  const missing = [
    ...(sampler === undefined || scheduler !== undefined ? [] : [`Sampler: ${sampler}`]),
    ...(isTypeKnown && !isCurveLost ? [] : [`Schedule type: ${type ?? curveTypes[sigmas as Curve]}`]),
    ...Object.entries(foreign).flatMap(([name, neutral]) => {
      const value = values.get(name) ?? neutral;
      if (name === "Eta" && isEtaRead) return [];
      return value === neutral || value === null ? [] : [`${name}: ${shortened(value)}`];
    }),
    ...[...values].flatMap(([name, value]) => (isControlNet(name) ? [`${name}: ${shortened(value)}`] : [])),
    ...(isOurs ? [] : foreignSyntax(request.prompt, "prompt")),
    ...(isOurs ? [] : foreignSyntax(request.negativePrompt ?? "", "negative prompt")),
  ];
  return {
    request,
    ...(model === undefined ? {} : { model }),
    ...(missing.length === 0 ? {} : { missing }),
  };
}

/**
 * The request that a picture's text chunks record, and the model it was for. `where` names the picture in errors.
 * @throws KoalaError E_IMAGE when nothing is recorded, E_REQUEST when what is recorded is no request
 */
export function readPictureText(texts: Readonly<Record<string, string>>, where: string): Recorded {
  if (texts.koala === undefined) {
    check(texts.parameters !== undefined, "E_IMAGE", () => ({
      where,
      expected: "a picture that records its request (text koala or parameters)",
      got: Object.keys(texts).length === 0 ? "no text" : `only ${Object.keys(texts).join(", ")}`,
    }));
    return readParameters(texts.parameters);
  }
  let recorded: unknown;
  try {
    recorded = JSON.parse(texts.koala);
  } catch {
    recorded = null;
  }
  check(typeof recorded === "object" && recorded !== null && "request" in recorded, "E_IMAGE", () => ({
    where,
    expected: "JSON with a request in text koala",
    got: (texts.koala ?? "").slice(0, 60),
  }));
  const { model, loras } = recorded as { readonly model?: unknown; readonly loras?: unknown };
  return {
    request: parseRequest(recorded.request),
    ...(typeof model === "string" ? { model } : {}),
    ...(Array.isArray(loras) ? { loras: loras.filter((one) => typeof one === "string") } : {}),
  };
}
