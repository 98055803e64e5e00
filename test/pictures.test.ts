/** Prompt to picture against diffusers: every family in small, and the model in the repository. */

import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Picture } from "../src/image/pixels.ts";
import { psnr } from "../src/image/psnr.ts";
import type { Built } from "../src/models/built.ts";
import { buildClipText, clipTextConfig } from "../src/models/clip-text.ts";
import { buildUNet } from "../src/models/unet.ts";
import { unetConfig } from "../src/models/unet-config.ts";
import { buildVaeDecoder, buildVaeEncoder, vaeConfig } from "../src/models/vae.ts";
import { readPicture } from "../src/node/image-file.ts";
import type { PipelineEvent } from "../src/pipeline/events.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import type { RequestInput } from "../src/pipeline/request.ts";
import { float32 } from "../src/tensor/tensor.ts";
import { serializeSafetensors } from "../src/weights/safetensors-writer.ts";
import { fill } from "./fill.ts";
import { goldenJson, goldenTensors } from "./golden.ts";

const emoji = new URL("../models/koala-emoji", import.meta.url).pathname;
const families = new URL("golden/families/", import.meta.url).pathname;
let work = "";
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "koala-pictures-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** A loadable folder of that tiny family: its committed configs, weights by rule, the emoji model's tokenizers. */
function folderOf(family: string, scheduler: object | undefined, name: string): string {
  const folder = join(work, name);
  cpSync(join(families, family), folder, { recursive: true });
  const config = (component: string): unknown =>
    JSON.parse(readFileSync(join(folder, component, "config.json"), "utf8"));
  const write = (component: string, file: string, parts: readonly Built[]): void => {
    const parameters = parts.flatMap((part) => [...part.parameters]);
    const tensors = parameters.map(
      ([key, { value }]) => [key, float32(value.shape, fill(key, value.shape))] as const,
    );
    mkdirSync(join(folder, component), { recursive: true });
    writeFileSync(join(folder, component, file), serializeSafetensors(Object.fromEntries(tensors)));
  };
  const unet = buildUNet(unetConfig(config("unet")), { batch: 1, height: 8, width: 8, tokens: 1 });
  write("unet", "diffusion_pytorch_model.safetensors", [unet]);
  const vae = vaeConfig(config("vae"));
  const pixels = { batch: 1, height: 64, width: 64 };
  write("vae", "diffusion_pytorch_model.safetensors", [
    buildVaeEncoder(vae, pixels),
    buildVaeDecoder(vae, pixels),
  ]);
  const index = JSON.parse(readFileSync(join(folder, "model_index.json"), "utf8"));
  for (const encoder of ["text_encoder", "text_encoder_2"].filter((key) => index[key] !== undefined)) {
    write(encoder, "model.safetensors", [
      buildClipText(clipTextConfig(config(encoder)), { batch: 1, tokens: 2 }),
    ]);
    const tokenizer = encoder.replace("text_encoder", "tokenizer");
    cpSync(join(emoji, tokenizer), join(folder, tokenizer), { recursive: true });
  }
  if (scheduler !== undefined)
    writeFileSync(
      join(folder, "scheduler/scheduler_config.json"),
      JSON.stringify(scheduler, (_, v) => (v === Number.NEGATIVE_INFINITY ? "-inf" : v)).replace(
        '"-inf"',
        "-Infinity",
      ),
    );
  return folder;
}

async function draw(
  location: string,
  request: RequestInput,
): Promise<{ pictures: Picture[]; events: PipelineEvent[] }> {
  const pipeline = await Pipeline.load(location, { isOffline: true });
  const events: PipelineEvent[] = [];
  try {
    for await (const event of pipeline.generate(request)) events.push(event);
  } finally {
    await pipeline.dispose();
  }
  return { events, pictures: events.flatMap((event) => (event.type === "image" ? [event.picture] : [])) };
}

interface GoldenRequest {
  readonly family: string;
  readonly prompt: string;
  readonly negative: string | null;
  readonly steps: number;
  readonly guidance: number;
  readonly guidanceRescale: number;
  readonly width: number;
  readonly height: number;
  readonly seed: number;
  readonly count: number;
  readonly scheduler?: object;
}

describe("whole pictures are diffusers'", () => {
  const { requests } = goldenJson("pictures.json") as { requests: Record<string, GoldenRequest> };
  const expected = goldenTensors("pictures.safetensors");

  it.each(Object.entries(requests))("%s", async (name, r) => {
    const { prompt, steps, guidance, guidanceRescale, width, height, seed, count } = r;
    const { pictures } = await draw(folderOf(r.family, r.scheduler, name), {
      ...{ prompt, steps, guidance, guidanceRescale, width, height, seed, count },
      ...(r.negative === null ? {} : { negativePrompt: r.negative }),
    });
    expect(pictures.length).toBe(count);
    const data = expected.get(name)?.data as Uint8Array<ArrayBuffer>;
    const tall = (all: Uint8Array<ArrayBuffer>): Picture => ({ width, height: height * count, data: all });
    const ours = new Uint8Array(pictures.flatMap((picture) => [...picture.data]));
    expect(psnr(tall(ours), tall(data))).toBeGreaterThanOrEqual(50);
  });
});

describe("the emoji model draws what diffusers draws", () => {
  const { requests } = goldenJson("emoji/requests.json") as {
    requests: {
      file: string;
      prompt: string;
      seed: number;
      steps: number;
      guidance: number;
      negative: string | null;
      width: number;
      height: number;
    }[];
  };
  it.each(requests)("$prompt", async ({ file, negative, ...request }) => {
    const { prompt, seed, steps, guidance, width, height } = request;
    const { pictures } = await draw(emoji, {
      ...{ prompt, seed, steps, guidance, width, height },
      ...(negative === null ? {} : { negativePrompt: negative }),
    });
    const expected = await readPicture(new URL(`golden/emoji/${file}`, import.meta.url).pathname);
    expect(psnr(pictures[0] as Picture, expected)).toBeGreaterThanOrEqual(45);
  });
});
