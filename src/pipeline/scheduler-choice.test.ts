/** Model and request together choose timesteps: against diffusers 0.42, whose classes were made with `from_config`. */

import { expect, it } from "vitest";
import { defaultsFor, type FolderFacts } from "../models/detect.ts";
import { presetFiles, presets } from "../models/presets.ts";
import { schedulerFor } from "./model.ts";
import { type RequestInput, resolveRequest } from "./request.ts";

function timesteps(facts: FolderFacts, said: Omit<RequestInput, "prompt"> = {}): number[] {
  const defaults = defaultsFor(facts);
  const request = resolveRequest({ prompt: "", ...said }, defaults);
  const scheduler = facts.scheduler as Record<string, never>;
  const { steps } = schedulerFor({ scheduler, schedulerPath: "scheduler" }, request, defaults).plan(
    request.timesteps ?? request.steps,
  );
  return steps.map(({ timestep }) => Math.round(timestep));
}

const facts = (name: "sd15" | "sdxl", changes: Partial<FolderFacts> = {}): FolderFacts => {
  const files = presetFiles(presets[name]);
  return {
    ...{ location: "m", modelIndex: files["model_index.json"], unet: files["unet/config.json"], factor: 8 },
    ...{ scheduler: files["scheduler/scheduler_config.json"], ...changes },
  };
};

it("SD 1.5's file names no spacing: each sampler has its own", () => {
  const sd15 = facts("sd15");
  const euler = [999, 856, 714, 571, 428, 285, 143, 0];
  expect(timesteps(sd15, { scheduler: "euler", steps: 8 })).toEqual(euler);
  expect(timesteps(sd15, { scheduler: "euler-a", steps: 8 })).toEqual(euler);
  const dpm = [999, 874, 749, 624, 500, 375, 250, 125];
  expect(timesteps(sd15, { scheduler: "dpmpp-2m", steps: 8 })).toEqual(dpm);
  const ddim = [876, 751, 626, 501, 376, 251, 126, 1];
  expect(timesteps(sd15, { scheduler: "ddim", steps: 8 })).toEqual(ddim);
});

it("a one-step U-Net starts where the request says", () => {
  expect(timesteps(facts("sdxl"), { scheduler: "lcm", timesteps: [800] })).toEqual([800]); // the card of ByteDance/Hyper-SD
});

it("Euler ancestral follows a curve as Euler does, whose levels are diffusers'", () => {
  const sdxl = facts("sdxl");
  const karras = { sigmas: "karras", steps: 8 } as const;
  const levels = timesteps(sdxl, { ...karras, scheduler: "euler" });
  expect(timesteps(sdxl, { ...karras, scheduler: "euler-a" })).toEqual(levels);
  expect(levels).not.toEqual(timesteps(sdxl, { scheduler: "euler", steps: 8 }));
});

it("TCD has the request's eta, or its own", () => {
  const viaOf = (said: Omit<RequestInput, "prompt">) => {
    const defaults = defaultsFor(facts("sdxl"));
    const request = resolveRequest({ prompt: "", scheduler: "tcd", steps: 2, ...said }, defaults);
    const model = { scheduler: facts("sdxl").scheduler as Record<string, never>, schedulerPath: "scheduler" };
    return schedulerFor(model, request, defaults).plan(2).steps[0];
  };
  expect(viaOf({ eta: 0 })?.via).toEqual(viaOf({})?.to);
  expect(viaOf({})?.via?.signal).toBeGreaterThan(viaOf({ eta: 0 })?.via?.signal ?? 1);
});

it("an LCM's U-Net is drawn with LCM's timesteps, whatever completes it", () => {
  const unet = { ...presets.sdxl.unet, time_cond_proj_dim: 256 };
  expect(timesteps(facts("sdxl", { unet }))).toEqual([999, 759, 499, 259]); // the card of latent-consistency/lcm-sdxl
});
