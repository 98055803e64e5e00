/** Fields without effect are told of where a caller set them, and not recorded. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { writeFamily } from "../../test/model-folder.ts";
import {
  hasSigmas,
  schedulerFromConfig,
  schedulerNames,
  sigmaNames,
  withScheduler,
} from "../diffusion/scheduler.ts";
import type { PipelineEvent } from "./events.ts";
import { idleWarnings, usedRequest } from "./idle.ts";
import { schedulerFor } from "./model.ts";
import { Pipeline } from "./pipeline.ts";
import { hasSpacing, type RequestInput, resolveRequest, spacings } from "./request.ts";

const defaults = {
  ...{ steps: 4, guidance: 0, width: 64, height: 32, scheduler: "euler", spacing: "leading" },
  ...{ negativePrompt: "low quality", usualSpacings: { lcm: "trailing" } },
};
const clip: { mostSkipped: number | null } = { mostSkipped: 11 };
const xl = { denoiser: { isToldGuidance: false }, isXL: true, texts: [clip, clip] };
const sd = { ...xl, isXL: false };
const told = { ...sd, denoiser: { isToldGuidance: true } };

const request = (said: Partial<RequestInput>) =>
  resolveRequest({ prompt: "apple", seed: 1, ...said }, defaults);
const warnings = (said: Partial<RequestInput>, model = xl) => idleWarnings(request(said), model, defaults);

const ofGuidance = {
  ...{ negativePrompt: "worm", guidanceRescale: 0.7, guidanceFrom: 5, guidanceUntil: 0.3 },
};
const ofSizes = {
  originalSize: { width: 512, height: 512 },
  crop: { left: 8, top: 0 },
  targetSize: { width: 64, height: 64 },
};

it("what guides has no effect without guidance", () => {
  const place = "has no effect at guidance 0: there is some above 1";
  expect(warnings(ofGuidance)).toEqual(Object.keys(ofGuidance).map((field) => `${field} ${place}`));
  expect(warnings({ ...ofGuidance, guidance: 1.1 })).toEqual([]);
});

it("nor on a model that is told its guidance", () => {
  expect(warnings({ guidance: 8, negativePrompt: "worm" }, told)).toEqual([
    "negativePrompt has no effect on a model that is told its guidance",
  ]);
});

it("sizes have none but on SDXL's relatives", () => {
  const place = "has no effect on a model that is not told sizes, as SDXL is";
  expect(warnings(ofSizes, sd)).toEqual(Object.keys(ofSizes).map((field) => `${field} ${place}`));
  expect(warnings(ofSizes, xl)).toEqual([]);
});

it("skipped layers have none where CLIP does not read the prompt", () => {
  const t5 = { ...sd, texts: [{ mostSkipped: null }] };
  expect(warnings({ clipSkip: 1 }, t5)).toEqual([
    "clipSkip has no effect on a model that has another text encoder than CLIP",
  ]);
  expect([warnings({ clipSkip: 0 }, t5), warnings({ clipSkip: 1 }, xl)]).toEqual([[], []]);
  expect(usedRequest(request({ clipSkip: 1 }), t5, defaults)).not.toHaveProperty("clipSkip");
});

it("the spacing has none on a sampler that has timesteps of its own", () => {
  expect(warnings({ scheduler: "lcm", spacing: "linspace" })).toEqual([
    "spacing has no effect with lcm, whose timesteps are its own",
  ]);
  expect(warnings({ spacing: "linspace" })).toEqual([]);
});

it("nor where timesteps are named, but for how much noise there is at first", () => {
  const timesteps = [999, 499];
  expect(warnings({ scheduler: "unipc", timesteps, spacing: "linspace" })).toEqual([
    "spacing has no effect where timesteps are named",
  ]);
  expect(warnings({ scheduler: "euler", timesteps, spacing: "linspace" })).toEqual([]);
});

it("nor where a curve lays the noise levels from end to end", () => {
  expect(warnings({ scheduler: "unipc", sigmas: "beta", spacing: "linspace" })).toEqual([
    "spacing has no effect with the noise levels of sigmas beta",
  ]);
  expect(warnings({ scheduler: "unipc", sigmas: "timesteps", spacing: "linspace" })).toEqual([]);
  expect(warnings({ scheduler: "euler", sigmas: "beta", spacing: "linspace" })).toEqual([]);
});

it("sigmas have none on a sampler that has noise levels of its own", () => {
  expect(warnings({ scheduler: "ddim", sigmas: "karras" })).toEqual([
    "sigmas has no effect with ddim, whose noise levels are its own",
  ]);
  expect(warnings({ scheduler: "heun", sigmas: "karras" })).toEqual([]);
});

it("eta has none on a sampler whose fresh noise is not the request's to say", () => {
  expect(warnings({ eta: 0.3 })).toEqual(["eta has no effect with euler: ddim and tcd have one"]);
  expect(warnings({ scheduler: "tcd", eta: 0.3 })).toEqual([]);
});

it("which samplers those are is so by their plans", () => {
  for (const name of schedulerNames) {
    const plans = spacings.map((timestep_spacing) => {
      const config = { ...withScheduler({ _class_name: "DDIMScheduler" }, name), timestep_spacing };
      return JSON.stringify(schedulerFromConfig(config, "scheduler").plan(7));
    });
    expect([name, new Set(plans).size > 1]).toEqual([name, hasSpacing(name)]);
  }
});

it("and whose noise levels follow any curve", () => {
  const model = { scheduler: { _class_name: "DDIMScheduler" }, schedulerPath: "scheduler" };
  for (const scheduler of schedulerNames) {
    const plans = sigmaNames.map((sigmas) => {
      const asked = { scheduler, spacing: "leading", sigmas } as const;
      return JSON.stringify(schedulerFor(model, asked, { prediction: "epsilon" }).plan(7));
    });
    expect([scheduler, new Set(plans).size]).toEqual([
      scheduler,
      hasSigmas(scheduler) ? sigmaNames.length : 1,
    ]);
  }
});

it("nothing is said of a value that is the default, empty, or as good as none", () => {
  expect(warnings({})).toEqual([]);
  expect(warnings({ negativePrompt: "low quality", guidanceRescale: 0, guidanceUntil: 0 })).toEqual([]);
  expect(warnings({ negativePrompt: "" })).toEqual([]);
  const own = { width: 64, height: 32 };
  expect(warnings({ originalSize: own, targetSize: own, crop: { left: 0, top: 0 } }, sd)).toEqual([]);
  expect(warnings({ scheduler: "lcm", spacing: "trailing" })).toEqual([]);
});

it("a used request has no field without effect, and all others in their order", () => {
  const all = { ...ofGuidance, ...ofSizes };
  const given = request({ ...all, scheduler: "lcm", spacing: "linspace" });
  const { negativePrompt: _, ...bare } = request({ scheduler: "lcm" });
  expect(JSON.stringify(usedRequest(given, sd, defaults))).toBe(JSON.stringify(bare));
  const guided = request({ ...all, guidance: 2 });
  expect(usedRequest(guided, xl, defaults)).toEqual(guided);
});

it("a pipeline warns first, and its pictures are told what drew them", async () => {
  const work = mkdtempSync(join(tmpdir(), "koala-idle-"));
  onTestFinished(() => rmSync(work, { recursive: true }));
  const pipeline = await Pipeline.load(writeFamily(join(work, "sd15"), "sd15"), { isOffline: true });
  onTestFinished(() => pipeline.dispose());
  const input = { prompt: "apple", seed: 3, steps: 1, count: 2, guidance: 1, width: 64, height: 64 };
  const events: PipelineEvent[] = [];
  const idle = { negativePrompt: "worm", crop: { left: 8, top: 8 } };
  for await (const event of pipeline.generate({ ...input, ...idle })) events.push(event);
  expect(events.slice(1, 3)).toEqual([
    { type: "warning", message: "negativePrompt has no effect at guidance 1: there is some above 1" },
    { type: "warning", message: "crop has no effect on a model that is not told sizes, as SDXL is" },
  ]);
  const drawn = events.flatMap((event) => (event.type === "image" ? [event.request] : []));
  const plain = { ...pipeline.resolve(input), count: 1 };
  expect(drawn).toEqual([plain, { ...plain, seed: 4 }]);
});
