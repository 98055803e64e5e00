/** A model as the pipeline draws with it: any of the pipelines that koala runs, opened and checked but not yet compiled. */

import {
  hasSigmas,
  type Scheduler,
  schedulerFromConfig,
  withScheduler,
  withSigmas,
} from "../diffusion/scheduler.ts";
import type { Value } from "../graph/op.ts";
import type { JsonObject } from "../models/config.ts";
import type { ModelDefaults } from "../models/detect.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ModelFiles } from "../weights/files.ts";
import type { Adapt } from "./loras.ts";
import type { Denoiser, TextEncoder } from "./networks.ts";
import {
  folderSources,
  type ModelParts,
  openParts,
  type PartsOptions,
  readScheduler,
  type VaePart,
} from "./parts.ts";
import { openPixart, pixartClasses } from "./pixart.ts";
import type { Request, Size } from "./request.ts";
import { clipEncoder, unetDenoiser } from "./stable-diffusion.ts";

export interface Model {
  /** Whether two text encoders are joined. */
  readonly isXL: boolean;
  readonly denoiser: Denoiser;
  readonly texts: readonly TextEncoder[];
  readonly vae: VaePart;
  /** scheduler_config.json as it stands. */
  readonly scheduler: JsonObject;
  /** That file, for messages. */
  readonly schedulerPath: string;
  readonly index: unknown;
  /** SDXL: no negative prompt means zeros, not the encoding of "". */
  readonly hasZeroForEmpty: boolean;
}

export interface DrawableOptions extends PartsOptions {
  /** Changes a model's weights before it is used: low-rank adapters. */
  readonly adapt?: Adapt;
}

/**
 * Reads everything but the weights' data.
 * @throws KoalaError E_MODEL, E_CONFIG, E_WEIGHTS, E_TOKENIZER, E_FILE, E_SAFETENSORS
 */
export async function openDrawable(files: ModelFiles, o: DrawableOptions): Promise<Model> {
  const sources = await folderSources(files);
  const className = pixartClasses.find((name) => name === sources?.index.className);
  if (sources === null || className === undefined) {
    const parts = await adapted(await openParts(files, o), o.adapt);
    return {
      ...parts,
      denoiser: unetDenoiser(parts.unet),
      texts: parts.texts.map((part) => clipEncoder(part, parts.isXL)),
    };
  }
  const { denoiser: own, text, vae } = await openPixart(sources, className);
  const [store = own.store] = (await o.adapt?.([own])) ?? [];
  const denoiser = { ...own, store };
  const { scheduler, schedulerPath } = await readScheduler(sources);
  return {
    ...{ isXL: false, denoiser, texts: [text], vae, scheduler, schedulerPath },
    ...{ index: sources.indexJson, hasZeroForEmpty: false },
  };
}

/** The parts with what `adapt` makes of their weights. */
async function adapted(parts: ModelParts, adapt: Adapt | undefined): Promise<ModelParts> {
  if (adapt === undefined) return parts;
  const [unet = parts.unet.store, ...texts] = await adapt([{ name: "unet", ...parts.unet }, ...parts.texts]);
  return {
    ...parts,
    unet: { ...parts.unet, store: unet },
    texts: parts.texts.map((text, i) => ({ ...text, store: texts[i] ?? text.store })),
  };
}

/** The sampler that the request names, on the model's own noise schedule. @throws KoalaError E_CONFIG */
export function schedulerFor(
  { scheduler, schedulerPath }: Pick<Model, "scheduler" | "schedulerPath">,
  request: Pick<Request, "scheduler" | "spacing" | "sigmas" | "eta">,
  { prediction }: Pick<ModelDefaults, "prediction">,
): Scheduler {
  const named = withScheduler(scheduler, request.scheduler);
  const isOpen = request.sigmas !== undefined && hasSigmas(request.scheduler);
  const config = {
    ...(isOpen ? withSigmas(named, request.sigmas) : named),
    timestep_spacing: request.spacing,
    prediction_type: prediction,
    ...(request.eta === undefined ? {} : { eta: request.eta }),
  };
  return schedulerFromConfig(config, schedulerPath);
}

/** The denoiser as a graph for a request, fed `conditions` of `text` [N, S, E]. */
export function denoiserGraph(
  { denoiser, vae: { factor } }: Model,
  { height, width }: Size,
  conditions: Readonly<Record<string, Tensor>>,
): Readonly<Record<string, Value>> {
  const [batch = 1, tokens = 1] = conditions.text?.shape ?? [];
  return denoiser.graph({ batch, height: height / factor, width: width / factor, tokens });
}
