/** How folders are recognised, and the presets that they are compared with. */

import { describe, expect, it } from "vitest";
import { defaultsFor, type FolderFacts } from "./detect.ts";
import { pixartPresets } from "./pixart-presets.ts";
import { type PresetName, preset, presetFiles, presetNames, presets } from "./presets.ts";

const facts = (name: PresetName, changes: Partial<FolderFacts> = {}): FolderFacts => {
  const files = presetFiles(presets[name]);
  return {
    location: "/models/mine",
    modelIndex: files["model_index.json"],
    unet: files["unet/config.json"],
    scheduler: files["scheduler/scheduler_config.json"],
    factor: 8,
    ...changes,
  };
};

describe("defaultsFor", () => {
  it("gives KOALA-Lightning trailing timesteps though its scheduler's file says leading", () => {
    expect(presets["koala-lightning-700m"].scheduler.timestep_spacing).toBe("leading");
    expect(defaultsFor(facts("koala-lightning-700m"))).toEqual({
      family: "koala-lightning",
      steps: 10,
      guidance: 3.5,
      width: 1024,
      height: 1024,
      scheduler: "euler",
      spacing: "trailing",
      prediction: "epsilon",
      negativePrompt: "worst quality, low quality, illustration, low resolution",
    });
  });

  it("knows KOALA-Lightning by the training run that its U-Net's config names, or by where the hub's cache keeps it", () => {
    const bare = facts("koala-1b", { modelIndex: null });
    // unet/config.json of etri-vilab/koala-lightning-1b, facts.md 1.1
    const run = "./results/pt_laion_pop_sdxl_lightning/pt_koala_1b_sdxl_lightning_4step/checkpoint-350000";
    const named = { ...presets["koala-1b"].unet, _name_or_path: run };
    expect(defaultsFor({ ...bare, unet: named }).family).toBe("koala-lightning");
    const cache = "/home/me/.cache/huggingface/hub/models--etri-vilab--koala-lightning-1b/snapshots/42df932";
    expect(defaultsFor({ ...bare, location: cache }).family).toBe("koala-lightning");
    expect(defaultsFor({ ...bare, location: "/lightning/models/koala/somewhere/else" }).family).toBe("koala");
  });

  it.each([
    ["/data/lightning/sdxl-base", "sdxl"],
    ["/data/sdxl-turbo/sdxl_base.safetensors", "sdxl"],
    ["lightning/sdxl-base", "sdxl"],
    ["/data/sdxl-lightning/", "sdxl-lightning"],
    ["/data/sdxl-lightning/unet", "sdxl-lightning"],
    ["C:\\models\\sdxl-turbo", "sdxl-turbo"],
    ["ByteDance/SDXL-Lightning@main", "sdxl-lightning"],
    ["ByteDance/SDXL-Lightning/unet.safetensors", "sdxl-lightning"],
    ["/c/models--ByteDance--SDXL-Lightning/snapshots/c9a24f4", "sdxl-lightning"],
    ["/c/models--ByteDance--SDXL-Lightning/snapshots/c9a24f4/unet.safetensors", "sdxl-lightning"],
  ])("takes %s for %s", (location, family) => {
    expect(defaultsFor(facts("sdxl", { modelIndex: null, location })).family).toBe(family);
  });

  it("gives every family its own steps, guidance, size and sampler", () => {
    const rows = presetNames.map((name) => {
      const { family, steps, guidance, width, scheduler, spacing, prediction } = defaultsFor(facts(name));
      return [name, family, steps, guidance, width, scheduler, spacing, prediction].join(" ");
    });
    expect(rows).toEqual([
      "koala-700m koala 25 7.5 1024 euler leading epsilon",
      "koala-1b koala 25 7.5 1024 euler leading epsilon",
      "koala-lightning-700m koala-lightning 10 3.5 1024 euler trailing epsilon",
      "koala-lightning-1b koala-lightning 10 3.5 1024 euler trailing epsilon",
      "sdxl sdxl 50 5 1024 euler leading epsilon",
      "sdxl-turbo sdxl-turbo 4 0 512 euler-a trailing epsilon",
      "sdxl-lightning sdxl-lightning 4 0 1024 euler trailing epsilon",
      "ssd-1b ssd-1b 50 9 1024 euler leading epsilon",
      "vega vega 50 9 1024 euler leading epsilon",
      "sd15 sd1 50 7.5 512 pndm leading epsilon",
      "sd2 sd2 50 7.5 768 ddim leading v_prediction",
      "sd21 sd2 50 7.5 768 ddim leading v_prediction",
      "bk-sdm-base bk-sdm 50 7.5 512 pndm leading epsilon",
      "bk-sdm-small bk-sdm 50 7.5 512 pndm leading epsilon",
      "bk-sdm-tiny bk-sdm 50 7.5 512 pndm leading epsilon",
      "bk-sdm-v2-base bk-sdm 50 7.5 512 pndm leading epsilon",
      "bk-sdm-v2-small bk-sdm 50 7.5 512 pndm leading epsilon",
      "bk-sdm-v2-tiny bk-sdm 50 7.5 512 pndm leading epsilon",
      "tiny koala-small 20 3.5 64 euler trailing epsilon",
    ]);
  });

  it("gives a small model in KOALA's shape what this project's own are judged with, at the size of its config", () => {
    // unet/config.json of koala-emoji
    const unet = {
      ...presets["koala-700m"].unet,
      addition_time_embed_dim: 32,
      attention_head_dim: [3, 5, 7],
      block_out_channels: [96, 160, 224],
      cross_attention_dim: 192,
      projection_class_embeddings_input_dim: 320,
      sample_size: 16,
      transformer_layers_per_block: [1, 1, 2],
    };
    const scheduler = { ...presets.tiny.scheduler, timestep_spacing: "trailing" };
    expect(defaultsFor(facts("tiny", { location: "models/koala-emoji", unet, scheduler }))).toEqual({
      family: "koala-small",
      steps: 20,
      guidance: 3.5,
      width: 128,
      height: 128,
      scheduler: "euler",
      spacing: "trailing",
      prediction: "epsilon",
    });
  });

  it("reads the steps of SDXL-Lightning off the file's name, and that the one-step net predicts the picture", () => {
    const bare = facts("sdxl", { modelIndex: null, scheduler: null });
    const at = (location: string) => defaultsFor({ ...bare, location });
    expect(at("/m/sdxl_lightning_8step_unet.safetensors")).toMatchObject({ steps: 8, prediction: "epsilon" });
    expect(at("/m/sdxl_lightning_1step_unet_x0.safetensors")).toMatchObject({
      steps: 1,
      prediction: "sample",
    });
    expect(at("/m/sdxl_lightning_4step_unet.safetensors").spacing).toBe("trailing");
  });

  it("knows the models that draw in few steps without guidance", () => {
    const turbo = defaultsFor(facts("sd2", { location: "stabilityai/sd-turbo" }));
    expect(turbo).toMatchObject({ family: "sd-turbo", steps: 4, guidance: 0, spacing: "trailing" });
    const { transformer } = pixartPresets["pixart-alpha"];
    const scheduler = { _class_name: "LCMScheduler" };
    const modelIndex = { _class_name: "PixArtAlphaPipeline" };
    const pixart = defaultsFor({ location: "x", modelIndex, transformer, scheduler, factor: 8 });
    expect(pixart).toMatchObject({ family: "pixart-lcm", steps: 4, guidance: 0, scheduler: "lcm" });
  });

  it("draws 512 px with SDXL-Turbo's single file, which does not say so, and 1024 px with models made of it", () => {
    const widthOf = (location: string) => defaultsFor(facts("sdxl", { modelIndex: null, location })).width;
    expect(widthOf("/data/sd_xl_turbo_1.0_fp16.safetensors")).toBe(512);
    expect(widthOf("/data/DreamShaperXL_Turbo_v2.safetensors")).toBe(1024);
  });

  it("corrects the size that early conversions of Stable Diffusion wrote, as diffusers' pipeline does", () => {
    const widthOf = (version: string, modelIndex: object = { _class_name: "StableDiffusionPipeline" }) => {
      const unet = { ...presets.sd15.unet, sample_size: 32, _diffusers_version: version };
      return defaultsFor(facts("sd15", { unet, modelIndex })).width;
    };
    expect([widthOf("0.6.0"), widthOf("0.9.0"), widthOf("0.42.0")]).toEqual([512, 256, 256]);
    expect(widthOf("0.6.0", { _class_name: "LatentConsistencyModelPipeline" })).toBe(256);
  });

  it("takes a consistency model by its U-Net or its scheduler, and the guidance only where the U-Net is told it", () => {
    const told = { ...presets.sd15.unet, time_cond_proj_dim: 256 };
    expect(defaultsFor(facts("sd15", { unet: told }))).toMatchObject({
      family: "lcm",
      steps: 4,
      guidance: 8.5,
    });
    const scheduler = { _class_name: "LCMScheduler" };
    expect(defaultsFor(facts("sdxl", { scheduler }))).toMatchObject({
      family: "lcm",
      guidance: 1,
      scheduler: "lcm",
    });
  });

  it("draws with a consistency model's own sampler where its U-Net came alone and its teacher's file names another", () => {
    const unet = { ...presets.sdxl.unet, time_cond_proj_dim: 256 };
    const { scheduler, spacing } = defaultsFor(facts("sdxl", { unet }));
    expect([scheduler, spacing]).toEqual(["lcm", "leading"]);
  });

  it("knows the spacings of other samplers where neither family nor file says one", () => {
    expect(defaultsFor(facts("sd15")).usualSpacings).toEqual({
      ...{ euler: "linspace", "euler-a": "linspace", "dpmpp-2m": "linspace", "dpmpp-2m-karras": "linspace" },
      ...{ "dpmpp-2m-sde": "linspace", "dpmpp-2m-sde-karras": "linspace", "dpmpp-3m": "linspace" },
      ...{ heun: "linspace", unipc: "linspace" },
      ...{ ddim: "leading", pndm: "leading", lcm: "leading", tcd: "leading" },
    });
    expect(defaultsFor(facts("sdxl"))).not.toHaveProperty("usualSpacings");
    const turbo = { _class_name: "EulerDiscreteScheduler" };
    expect(defaultsFor(facts("sdxl", { location: "sdxl-turbo", scheduler: turbo }))).not.toHaveProperty(
      "usualSpacings",
    );
  });

  it("takes the size of its family where the config has none, as in a single file", () => {
    const sizeOf = (name: PresetName) =>
      defaultsFor(facts(name, { unet: { ...presets[name].unet, sample_size: null } })).width;
    expect([sizeOf("sdxl"), sizeOf("sd15"), sizeOf("sd2")]).toEqual([1024, 512, 768]);
  });

  it("names DPM-Solver's kinds", () => {
    const named = (fields: object) =>
      defaultsFor(facts("sdxl", { scheduler: { _class_name: "DPMSolverMultistepScheduler", ...fields } }))
        .scheduler;
    expect(named({ algorithm_type: "sde-dpmsolver++" })).toBe("dpmpp-2m-sde");
    expect(named({ algorithm_type: "sde-dpmsolver++", use_karras_sigmas: true })).toBe("dpmpp-2m-sde-karras");
    expect(named({ solver_order: 3, use_karras_sigmas: true })).toBe("dpmpp-3m");
  });

  it("names Karras sigmas, and passes a scheduler that it does not know on by its own name", () => {
    const karras = { _class_name: "DPMSolverMultistepScheduler", use_karras_sigmas: true };
    expect(defaultsFor(facts("sdxl", { scheduler: karras }))).toMatchObject({
      scheduler: "dpmpp-2m-karras",
      spacing: "linspace",
    });
    const other = { _class_name: "LMSDiscreteScheduler" };
    expect(defaultsFor(facts("sdxl", { scheduler: other })).scheduler).toBe("LMSDiscreteScheduler");
  });
});

describe("preset", () => {
  it("offers the nearest name for one that is not there", () => {
    expect(() => preset("koala-70m")).toThrow(
      `preset: expected one of ${presetNames.join(", ")}, got koala-70m [E_MODEL]\nDid you mean koala-700m?`,
    );
  });

  it("gives the files of a diffusers folder", () => {
    const files = presetFiles(preset("sdxl"));
    expect(Object.keys(files).sort()).toEqual([
      "model_index.json",
      "scheduler/scheduler_config.json",
      "text_encoder/config.json",
      "text_encoder_2/config.json",
      "tokenizer/tokenizer_config.json",
      "tokenizer_2/tokenizer_config.json",
      "unet/config.json",
      "vae/config.json",
    ]);
    expect(files["model_index.json"]).toEqual({
      _class_name: "StableDiffusionXLPipeline",
      _diffusers_version: "0.42.0",
      _name_or_path: "stabilityai/stable-diffusion-xl-base-1.0",
      force_zeros_for_empty_prompt: true,
      scheduler: ["diffusers", "EulerDiscreteScheduler"],
      text_encoder: ["transformers", "CLIPTextModel"],
      text_encoder_2: ["transformers", "CLIPTextModelWithProjection"],
      tokenizer: ["transformers", "CLIPTokenizer"],
      tokenizer_2: ["transformers", "CLIPTokenizer"],
      unet: ["diffusers", "UNet2DConditionModel"],
      vae: ["diffusers", "AutoencoderKL"],
    });
    expect(files["tokenizer_2/tokenizer_config.json"]).toMatchObject({
      pad_token: "!",
      model_max_length: 77,
    });
  });
});
