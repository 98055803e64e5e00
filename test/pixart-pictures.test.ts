/** PixArt folders from prompt to picture, against diffusers' pipelines. */

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Picture } from "../src/image/pixels.ts";
import { psnr } from "../src/image/psnr.ts";
import type { LoadOptions } from "../src/pipeline/pipeline.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import type { RequestInput } from "../src/pipeline/request.ts";
import { drawn } from "./drawn.ts";
import { goldenJson, goldenTensors } from "./golden.ts";
import { readJsonFile, writePixart } from "./model-folder.ts";

let work = "";
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "koala-pixart-"));
  for (const name of ["alpha", "sigma"]) writePixart(join(work, name), name);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

interface GoldenRequest {
  readonly model: string;
  readonly prompt?: string;
  readonly negative?: string;
  readonly steps: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
  readonly seed: number;
  readonly count?: number;
}

const { requests } = goldenJson("pixart/index.json") as { requests: Record<string, GoldenRequest> };
const expected = goldenTensors("pixart/pictures.safetensors");

async function draw(name: string, r: GoldenRequest, o: LoadOptions = {}): Promise<number> {
  const { model, prompt = "a red apple on a table", negative, count = 1 } = r;
  const { steps, guidance, width, height, seed } = r;
  const request: RequestInput = {
    ...{ prompt, count, steps, guidance, width, height, seed },
    ...(negative === undefined ? {} : { negativePrompt: negative }),
  };
  const pipeline = await Pipeline.load(join(work, model), { isOffline: true, ...o });
  const pictures = await drawn(pipeline, request).finally(() => pipeline.dispose());
  expect(pictures.length).toBe(count);
  const tall = (data: Uint8Array<ArrayBuffer>): Picture => ({
    ...{ width: r.width, height: r.height * count, data },
  });
  const ours = new Uint8Array(pictures.flatMap((picture) => [...picture.data]));
  return psnr(tall(ours), tall(expected.get(name)?.data as Uint8Array<ArrayBuffer>));
}

describe("whole pictures are diffusers'", () => {
  it.each(Object.entries(requests))("%s", async (name, r) => {
    expect(await draw(name, r)).toBeGreaterThanOrEqual(50);
  });

  it("also where the text encoder runs in pieces and stages are freed", async () => {
    expect(await draw("sigma", requests.sigma as GoldenRequest, { residentBytes: 0 })).toBeGreaterThanOrEqual(
      50,
    );
  });
});

describe("a PixArt model", () => {
  it("has diffusers' defaults, and heads and taps of its blocks", async () => {
    const pipeline = await Pipeline.load(join(work, "alpha"), { isOffline: true });
    expect(pipeline.defaults).toEqual({
      ...{ family: "pixart-alpha", steps: 20, guidance: 4.5, width: 1024, height: 1024 },
      ...{ scheduler: "dpmpp-2m", spacing: "linspace", prediction: "epsilon" },
    });
    expect([pipeline.headsOf("transformer_blocks.2"), pipeline.headsOf("transformer_blocks.3")]).toEqual([
      4, 0,
    ]);
    expect(pipeline.taps({ width: 64, height: 64 }).get("transformer_blocks.1.ff")).toEqual([1, 16, 48]);
    expect(pipeline.positionsOf("A red apple", "apple")[0]).toBe(
      pipeline.positionsOf("a red apple", "apple")[0],
    );
    expect(() => pipeline.resolve({ prompt: "", width: 72 })).toThrow(
      "width: expected a multiple of 16 px, the size of this model's patch, got 72 [E_REQUEST]",
    );
    await pipeline.dispose();
  });

  const broken = async (component: string, change: object): Promise<string> => {
    const folder = join(work, `broken-${component}`);
    cpSync(join(work, "sigma"), folder, { recursive: true });
    const path = join(folder, component, "config.json");
    writeFileSync(path, JSON.stringify({ ...readJsonFile(path), ...change }));
    const message = await Pipeline.load(folder, { isOffline: true }).then(
      () => "loaded",
      (error: Error) => error.message,
    );
    return message.replaceAll(work, "W");
  };

  it("refuses a transformer that it would compute wrongly", async () => {
    expect(await broken("transformer", { norm_type: "ada_norm_zero" })).toBe(
      'W/broken-transformer/transformer/config.json (norm_type): expected "ada_norm_single", got "ada_norm_zero" [E_CONFIG]',
    );
  });

  it("refuses T5 without its gate", async () => {
    expect(await broken("text_encoder", { feed_forward_proj: "relu" })).toBe(
      'W/broken-text_encoder/text_encoder/config.json (feed_forward_proj): expected "gated-gelu", got "relu" [E_CONFIG]',
    );
  });
});
