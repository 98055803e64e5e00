/** A model as the pipeline draws with it: any of the pipelines that koala runs, opened and checked but not yet compiled. */

import { check } from "../core/assert.ts";
import type { JsonObject } from "../models/config.ts";
import type { ModelFiles } from "../weights/files.ts";
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
  adapt?(parts: ModelParts): Promise<ModelParts>;
}

/**
 * Reads everything but the weights' data.
 * @throws KoalaError E_MODEL, E_CONFIG, E_WEIGHTS, E_TOKENIZER, E_FILE, E_SAFETENSORS
 */
export async function openDrawable(files: ModelFiles, o: DrawableOptions): Promise<Model> {
  const sources = await folderSources(files);
  const className = pixartClasses.find((name) => name === sources?.index.className);
  if (sources === null || className === undefined) {
    const own = await openParts(files, o);
    const parts = (await o.adapt?.(own)) ?? own;
    return {
      ...parts,
      denoiser: unetDenoiser(parts.unet),
      texts: parts.texts.map((part) => clipEncoder(part, parts.isXL)),
    };
  }
  check(o.adapt === undefined, "E_MODEL", () => ({
    where: `${files.location}/model_index.json`,
    expected: "a model with a U-Net, for a LoRA",
    got: className,
  }));
  const { denoiser, text, vae } = await openPixart(sources, className);
  const { scheduler, schedulerPath } = await readScheduler(sources);
  return {
    ...{ isXL: false, denoiser, texts: [text], vae, scheduler, schedulerPath },
    ...{ index: sources.indexJson, hasZeroForEmpty: false },
  };
}
