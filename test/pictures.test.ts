/** Prompt to picture against diffusers: every family in small, and the model in the repository. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Picture } from "../src/image/pixels.ts";
import { psnr } from "../src/image/psnr.ts";
import { readPicture } from "../src/node/image-file.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import type { RequestInput } from "../src/pipeline/request.ts";
import { drawn } from "./drawn.ts";
import { goldenJson, goldenTensors } from "./golden.ts";
import { emojiModel, writeFamily } from "./model-folder.ts";

let work = "";
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "koala-pictures-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

async function draw(location: string, request: RequestInput): Promise<Picture[]> {
  const pipeline = await Pipeline.load(location, { isOffline: true });
  try {
    return await drawn(pipeline, request);
  } finally {
    await pipeline.dispose();
  }
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
    const pictures = await draw(writeFamily(join(work, name), r.family, { scheduler: r.scheduler }), {
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
  let pipeline: Pipeline;
  beforeAll(async () => {
    pipeline = await Pipeline.load(emojiModel, { isOffline: true });
  });
  afterAll(() => pipeline.dispose());

  it.each(requests)("$prompt", async ({ file, negative, ...request }) => {
    const { prompt, seed, steps, guidance, width, height } = request;
    const [picture] = await drawn(pipeline, {
      ...{ prompt, seed, steps, guidance, width, height },
      ...(negative === null ? {} : { negativePrompt: negative }),
    });
    const expected = await readPicture(new URL(`golden/emoji/${file}`, import.meta.url).pathname);
    expect(psnr(picture as Picture, expected)).toBeGreaterThanOrEqual(45);
  });
});
