/** What diffusers corrects of folders that were written before its schedulers' files could say it. */

import type { JsonObject } from "../models/config.ts";

/**
 * A scheduler's file as `StableDiffusionPipeline.__init__` of diffusers takes it: latents are not clipped, and timesteps are
 * counted from 1. Early folders of Stable Diffusion 1 and 2 leave both out, and the classes' defaults are made for pixels.
 * `className` is that of model_index.json; other pipelines take the file as it stands.
 */
export const correctedSchedule = (scheduler: JsonObject, className: string): JsonObject =>
  /^StableDiffusion(Inpaint)?Pipeline$/.test(className)
    ? { ...scheduler, clip_sample: false, steps_offset: 1 }
    : scheduler;
