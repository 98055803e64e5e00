/** People's own clients, unmodified, against `koala serve` with models/koala-emoji: only the address is changed. */

import { mkdtempSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { pino } from "pino";
import sharp from "sharp";
import { StableDiffusionApi } from "stable-diffusion-api";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodePicture } from "../src/node/image-file.ts";
import { readText } from "../src/node/png-text.ts";
import type { JobView } from "../src/node/server/job.ts";
import { type RunningServer, startServer } from "../src/node/server/serve.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import { readPictureText } from "../src/pipeline/request-text.ts";

const model = join(import.meta.dirname, "../models/koala-emoji");
let data = "";
let server: RunningServer;

beforeAll(async () => {
  data = mkdtempSync(join(tmpdir(), "koala-clients-"));
  server = await startServer({
    models: { "koala-emoji": { location: model } },
    ...{
      host: "127.0.0.1",
      port: 0,
      tokens: ["secret"],
      names: [],
      origins: [],
      capacity: 8,
      workers: 1,
      data,
    },
    limits: { steps: 50, side: 512, count: 4 },
    precisions: ["f32", "int8"],
    log: pino({ level: "silent" }),
  });
});
afterAll(async () => {
  await server?.close();
  rmSync(data, { recursive: true, force: true });
});

/** What the library draws of the same request, as the bytes of its pixels. */
async function drawn(prompt: string, seed: number): Promise<Buffer> {
  const pipeline = await Pipeline.load(model);
  try {
    for await (const event of pipeline.generate({ prompt, seed, steps: 2, width: 64, height: 64 }))
      if (event.type === "image")
        return sharp(await encodePicture(event.picture, "png"))
          .raw()
          .toBuffer();
  } finally {
    await pipeline.dispose();
  }
  throw new Error("no picture");
}

describe("openai", () => {
  const client = (apiKey = "secret"): OpenAI =>
    new OpenAI({ apiKey, baseURL: `${server.url}/v1`, maxRetries: 0 });

  it("draws what the library draws, as base64", async () => {
    const { data: pictures } = await client().images.generate({
      ...{ model: "dall-e-3", prompt: "red apple", n: 2, response_format: "b64_json", quality: "hd" },
      ...({ size: "64x64", steps: 2, seed: 5 } as object),
    });
    const pixels = pictures?.map(({ b64_json }) =>
      sharp(Buffer.from(b64_json ?? "", "base64"))
        .raw()
        .toBuffer(),
    );
    expect(await Promise.all(pixels ?? [])).toEqual([
      await drawn("red apple", 5),
      await drawn("red apple", 6),
    ]);
  });

  it.each([
    "jpeg",
    "webp",
  ] as const)("gets a %s that records its request, as base64 and by address", async (format) => {
    const wanted = {
      prompt: "red apple",
      output_format: format,
      ...({ size: "64x64", steps: 1, seed: 5 } as object),
    };
    const { data: [inline] = [] } = await client().images.generate({
      ...wanted,
      response_format: "b64_json",
    });
    const { data: [linked] = [] } = await client().images.generate({ ...wanted, response_format: "url" });
    const answer = await fetch(linked?.url ?? "");
    expect(answer.headers.get("content-type")).toBe(`image/${format}`);
    for (const bytes of [
      Buffer.from(inline?.b64_json ?? "", "base64"),
      Buffer.from(await answer.arrayBuffer()),
    ]) {
      expect((await sharp(bytes).metadata()).format).toBe(format);
      expect(readPictureText(readText(bytes, "x"), "x").request).toMatchObject({ seed: 5, steps: 1 });
    }
  });

  it("gets addresses that open without a token, and the request inside the picture", async () => {
    const { data: pictures } = await client().images.generate({
      ...{ prompt: "blue car" },
      ...({ size: "64x64", steps: 2, seed: 1 } as object),
    });
    const response = await fetch(pictures?.[0]?.url ?? "");
    const { parameters } = readText(new Uint8Array(await response.arrayBuffer()), "blue car");
    expect(parameters).toMatch(/^blue car\nSteps: 2, .*Model: koala-emoji/);
  });

  it("edits what a mask leaves transparent, and nothing else", async () => {
    const paint = { width: 64, height: 64, channels: 4 } as const;
    const image = await sharp({ create: { ...paint, background: "#3060c0" } })
      .png()
      .toBuffer();
    const upper = Buffer.alloc(4 * 64 * 64, 255).fill(0, 0, 2 * 64 * 64); // transparent in its upper half
    const mask = await sharp(upper, { raw: paint }).png().toBuffer();
    const { data: [edited] = [] } = await client().images.edit({
      ...{ prompt: "red apple", response_format: "b64_json" },
      image: await OpenAI.toFile(image, "image.png"),
      mask: await OpenAI.toFile(mask, "mask.png"),
      ...({ size: "64x64", steps: 2, seed: 5 } as object),
    });
    const { data: pixels } = await sharp(Buffer.from(edited?.b64_json ?? "", "base64"))
      .raw()
      .toBuffer({ resolveWithObject: true });
    const [drawn, kept] = [pixels.subarray(0, pixels.length / 2), pixels.subarray(pixels.length / 2)];
    expect(kept.every((v, i) => v === [0x30, 0x60, 0xc0][i % 3])).toBe(true);
    expect(drawn.every((v, i) => v === [0x30, 0x60, 0xc0][i % 3])).toBe(false);
  });

  it("lists the models and meets errors as its own", async () => {
    expect((await client().models.list()).data.map(({ id }) => id)).toEqual(["koala-emoji"]);
    await expect(client().images.generate({ prompt: "a", n: 5 })).rejects.toMatchObject({
      status: 400,
      message: "400 n: expected at most 4 on this server, got 5 [E_REQUEST]",
    });
    await expect(client("wrong").models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
  });
});

describe("stable-diffusion-api", () => {
  const client = (): StableDiffusionApi =>
    new StableDiffusionApi({ host: "127.0.0.1", port: Number(new URL(server.url).port) }).setAuth(
      "me",
      "secret",
    );

  it("draws, and reads the settings back", async () => {
    const api = client();
    const result = await api.txt2img({
      ...{ prompt: "green tree", steps: 2, width: 64, height: 64, seed: 3, sampler_name: "Euler a" },
    });
    expect(await result.image.metadata()).toMatchObject({ width: 64, height: 64, format: "png" });
    expect(JSON.parse(String(result.info))).toMatchObject({ seed: 3, sampler_name: "Euler a", cfg_scale: 7 });
    const [image = ""] = result.response.data.images ?? [];
    expect((await api.api.post("/sdapi/v1/png-info", { image })).data.info).toMatch(
      /^green tree\nSteps: 2, Sampler: Euler a/,
    );
  });

  it("lists samplers and models, sets options, reads progress", async () => {
    const api = client();
    expect((await api.getSamplers()).map(({ name }) => name)).toContain("Euler a");
    expect(await api.getSdModels()).toMatchObject([{ title: "koala-emoji" }]);
    await api.setOptions({ sd_model_checkpoint: "koala-emoji" });
    expect(await api.getOptions()).toMatchObject({ sd_model_checkpoint: "koala-emoji" });
    expect(await api.getProgress()).toMatchObject({ progress: 0, state: { job_count: 0 } });
  });
});

it("cancels what a client waits for when it hangs up", async () => {
  const headers = { authorization: "Bearer secret", "content-type": "application/json" };
  const waiting = httpRequest(`${server.url}/sdapi/v1/txt2img`, { method: "POST", headers });
  waiting.on("error", () => {});
  waiting.end(JSON.stringify({ prompt: "long", steps: 50, width: 512, height: 512 }));
  const newest = async (): Promise<JobView | undefined> => {
    const response = await fetch(`${server.url}/api/jobs?limit=1`, { headers });
    return ((await response.json()) as { jobs: JobView[] }).jobs[0];
  };
  await expect.poll(async () => (await newest())?.request.prompt).toBe("long");
  waiting.destroy();
  await expect.poll(async () => (await newest())?.state, { timeout: 10_000 }).toBe("cancelled");
});

it("stays responsive while it draws", async () => {
  const headers = { authorization: "Bearer secret", "content-type": "application/json" };
  const job = { prompt: "busy", steps: 4, width: 256, height: 256 };
  const response = await fetch(`${server.url}/api/jobs`, {
    ...{ method: "POST", headers, body: JSON.stringify(job) },
  });
  const { id } = (await response.json()) as JobView;
  const started = performance.now();
  for (let i = 0; i < 20; i++) expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  expect((performance.now() - started) / 20).toBeLessThan(500); // the graphs of the U-Net take longer than that
  await fetch(`${server.url}/api/jobs/${id}/cancel`, { method: "POST", headers });
});
