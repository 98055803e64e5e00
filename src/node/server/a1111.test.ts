/** Settings of A1111's API that would change the picture: followed, or refused by name. */

import { describe, expect, it } from "vitest";
import { gate } from "../../../test/fake-crew.ts";
import { defaults } from "../../../test/fake-world.ts";
import { says, scenes } from "../../../test/server-scene.ts";
import { resolveRequest } from "../../pipeline/request.ts";
import { encodePicture } from "../image-file.ts";

const scene = scenes();

const options =
  "expected sd_model_checkpoint, live_previews_enable or CLIP_stop_at_last_layers, the options of this server, got another one";

describe("txt2img", () => {
  it.each([
    [{ override_settings: "abc" }, 'override_settings: expected a JSON object, got "abc"'],
    [
      { override_settings: { CLIP_stop_at_last_layers: 13 } },
      "override_settings.CLIP_stop_at_last_layers: expected a whole number from 1 to 12, got 13",
    ],
    [{ override_settings: { sd_vae: "other.safetensors" } }, `override_settings.sd_vae: ${options}`],
    [{ override_settings: { constructor: 1 } }, `override_settings.constructor: ${options}`],
    [
      { override_settings: { live_previews_enable: 1 } },
      "override_settings.live_previews_enable: expected true or false, got 1",
    ],
    [{ refiner_checkpoint: "sdxl-refiner" }, 'refiner_checkpoint: expected none, got "sdxl-refiner"'],
    [{ eta: 0.5 }, "eta: expected 0 or 1 with Euler, got 0.5"],
    [{ eta: 0, sampler_name: "Euler a" }, "eta: expected 1 with Euler a, got 0"],
    [{ eta: 0, sampler_name: "DPM++ 2M SDE" }, "eta: expected 1 with DPM++ 2M SDE, got 0"],
    [{ s_churn: 5 }, "s_churn: expected 0, got 5"],
    [{ s_noise: 1.1 }, "s_noise: expected 1, got 1.1"],
    [{ s_min_uncond: 3 }, "s_min_uncond: expected 0, got 3"],
    [{ seed_resize_from_w: 512 }, "seed_resize_from_w: expected 0, got 512"],
    [
      { sampler_name: "Euler", scheduler: "Turbo" },
      'scheduler: expected one of Automatic, Karras, Exponential, Beta, DDIM, SGM Uniform, Uniform, got "Turbo"',
    ],
    [
      { scheduler: 3 },
      "scheduler: expected one of Automatic, Karras, Exponential, Beta, DDIM, SGM Uniform, Uniform, got 3",
    ],
    [
      { sampler_name: "DDIM", scheduler: "Karras" },
      'scheduler: expected Karras with sampler_name Euler, Euler a, Heun, DPM++ 2M, DPM++ 2M SDE, DPM++ 3M, UniPC alone, got it with "DDIM"',
    ],
  ])("refuses %o", async (setting, sentence) => {
    const s = await scene();
    expect(await says(await s.ask("POST", "/sdapi/v1/txt2img", { prompt: "a", ...setting }))).toEqual([
      400,
      `${sentence} [E_REQUEST]`,
    ]);
  });

  it("takes all of them at the values that change nothing", async () => {
    const s = await scene();
    const neutral = {
      ...{ refiner_checkpoint: "", refiner_switch_at: 0.8, eta: 1, scheduler: "Automatic" },
      ...{ s_churn: 0, s_tmin: 0, s_tmax: 0, s_noise: 1, s_min_uncond: 0 },
      ...{ seed_resize_from_h: -1, seed_resize_from_w: 0 },
      override_settings: {
        ...{ CLIP_stop_at_last_layers: 1, sd_vae: "Automatic", eta_noise_seed_delta: 0 },
        ...{ samples_format: "png", sd_model_checkpoint: "other/model" },
      },
    };
    for (const sampler_name of ["Euler", "Euler a", "DDIM"]) {
      const answer = await s.ask("POST", "/sdapi/v1/txt2img", { prompt: "a", sampler_name, ...neutral });
      const { info } = (await answer.json()) as { info: string };
      expect(JSON.parse(info)).toMatchObject({ sampler_name, sd_model_name: "other/model" });
    }
  });

  it.each([
    ["Euler", "SGM Uniform", { scheduler: "euler", spacing: "trailing" }],
    ["Euler a", "sgm_uniform", { scheduler: "euler-a", spacing: "trailing" }],
    [undefined, "Uniform", { spacing: "linspace" }],
    ["DPM++ 2M", "Karras", { scheduler: "dpmpp-2m-karras" }],
    ["DPM++ 2M Karras", "automatic", { scheduler: "dpmpp-2m-karras" }],
    ["dpmpp-2m", "karras", { scheduler: "dpmpp-2m-karras" }],
    ["dpmpp-2m-karras", undefined, { scheduler: "dpmpp-2m-karras" }],
    ["DPM++ 2M", "", { scheduler: "dpmpp-2m" }],
    ["DPM++ 2M SDE", "Karras", { scheduler: "dpmpp-2m-sde-karras" }],
    ["UniPC", "", { scheduler: "unipc" }],
    ["Euler", "Karras", { scheduler: "euler", sigmas: "karras" }],
    ["Euler a", "Karras", { scheduler: "euler-a", sigmas: "karras" }],
    ["Euler", "Exponential", { scheduler: "euler", sigmas: "exponential" }],
    ["DPM++ 2M SDE Exponential", undefined, { scheduler: "dpmpp-2m-sde", sigmas: "exponential" }],
    ["DPM++ 2M", "beta", { scheduler: "dpmpp-2m", sigmas: "beta" }],
    [undefined, "karras", { sigmas: "karras" }],
  ])("draws %s with the schedule %s", async (sampler_name, scheduler, request) => {
    const s = await scene();
    await s.ask("POST", "/sdapi/v1/txt2img", { prompt: "a", sampler_name, scheduler });
    expect(s.store.list({ owner: "", limit: 1 })[0]?.request).toMatchObject(request);
  });
});

it("draws what the web UI's brackets mean, and with the layer of CLIP that is set", async () => {
  const s = await scene();
  const drawn = () => s.store.list({ owner: "", limit: 1 })[0]?.request;
  const prompts = { prompt: "a ((red)) [apple]", negative_prompt: "(blurry:1.2), [worm|bird]" };
  await s.ask("POST", "/sdapi/v1/txt2img", {
    ...prompts,
    override_settings: { CLIP_stop_at_last_layers: 2 },
  });
  expect(drawn()).toMatchObject({
    prompt: "a ((red:1.1):1.1) (apple:0.9091)",
    negativePrompt: "(blurry:1.2), [worm|bird]",
    clipSkip: 1,
  });
  await s.ask("POST", "/sdapi/v1/options", { CLIP_stop_at_last_layers: 3 });
  await s.ask("POST", "/sdapi/v1/txt2img", { prompt: "a" });
  expect(drawn()).toMatchObject({ clipSkip: 2 });
  await s.ask("POST", "/sdapi/v1/txt2img", {
    prompt: "a",
    override_settings: { CLIP_stop_at_last_layers: 1 },
  });
  expect(drawn()).not.toHaveProperty("clipSkip");
});

describe("info.infotexts", () => {
  const textsOf = async (answer: Response): Promise<string[]> =>
    JSON.parse(((await answer.json()) as { info: string }).info).infotexts;
  const isOf = (seed: number) => expect.stringContaining(`Seed: ${seed},`);

  it("has one text a picture, each with its own seed", async () => {
    const s = await scene();
    const answer = await s.ask("POST", "/sdapi/v1/txt2img", { prompt: "a", seed: 5, batch_size: 3 });
    expect(await textsOf(answer)).toEqual([isOf(5), isOf(6), isOf(7)]);
  });

  it("has none for pictures that an interrupt left undrawn, but one where it left all", async () => {
    const s = await scene();
    const { wait } = gate();
    for (const done of [2, 0]) {
      s.crew.before = done === 0 ? wait : async () => {};
      s.crew.after = async (index) => (index + 1 === done ? wait() : undefined);
      const answer = s.ask("POST", "/sdapi/v1/txt2img", { prompt: "a", seed: 5, batch_size: 3 });
      const count = async (): Promise<number> => {
        const [id = ""] = s.jobs.runningIds();
        return s.store.get(id)?.pictures.length ?? -1;
      };
      await expect.poll(count).toBe(done);
      await s.ask("POST", "/sdapi/v1/interrupt");
      expect(await textsOf(await answer)).toEqual(done === 0 ? [isOf(5)] : [isOf(5), isOf(6)]);
    }
  });

  it("is what the pictures' files say, without what had no effect", async () => {
    const s = await scene();
    s.crew.draw = async (_task, tell) => {
      const picture = { width: 1, height: 1, data: new Uint8Array(3) };
      const png = await encodePicture(picture, "png", { parameters: "a\nSteps: 4, Seed: 5" });
      await tell({ type: "picture", index: 0, seed: 5, png, residentBytes: 1 });
    };
    const answer = await s.ask("POST", "/sdapi/v1/txt2img", {
      ...{ prompt: "a", seed: 5, negative_prompt: "blurry", cfg_scale: 1, send_images: false },
    });
    expect(await textsOf(answer)).toEqual(["a\nSteps: 4, Seed: 5"]);
  });
});

it("keeps its options when it is sent all that it told", async () => {
  const s = await scene();
  const told = await (await s.ask("GET", "/sdapi/v1/options")).json();
  expect((await s.ask("POST", "/sdapi/v1/options", told)).status).toBe(200);
  expect(await (await s.ask("GET", "/sdapi/v1/options")).json()).toEqual(told);
});

it("draws with the first model where the chosen one is no longer served, and keeps the other options", async () => {
  const s = await scene();
  s.store.saveSettings("a1111 ", { sd_model_checkpoint: "gone", live_previews_enable: true });
  const told = await (await s.ask("GET", "/sdapi/v1/options")).json();
  expect(told).toMatchObject({ sd_model_checkpoint: "koala-emoji", live_previews_enable: true });
  const answer = await s.ask("POST", "/sdapi/v1/txt2img", { prompt: "a" });
  expect(JSON.parse(((await answer.json()) as { info: string }).info)).toMatchObject({
    sd_model_name: "koala-emoji",
  });
  expect((await s.ask("POST", "/sdapi/v1/options", told)).status).toBe(200);
});

describe("progress and interrupt", () => {
  it("are of the asker's own jobs, not of everyone's who has no token", async () => {
    const s = await scene();
    s.crew.before = gate().wait;
    const request = resolveRequest({ prompt: "apple", seed: 1 }, defaults);
    const other = s.jobs.create({
      ...{ owner: "", client: "192.0.2.7", isAwaited: true, model: "koala-emoji", request },
    });
    await expect.poll(() => s.jobs.runningIds()).toEqual([other.id]);
    const progress = await (await s.ask("GET", "/sdapi/v1/progress")).json();
    expect(progress).toMatchObject({ current_image: null, state: { job: "" } });
    await s.ask("POST", "/sdapi/v1/interrupt");
    expect(s.store.get(other.id)?.state).toBe("running");
  });
});
