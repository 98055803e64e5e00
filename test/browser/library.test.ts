/** The package in a real Chromium: models in its storage, WebAssembly and WebGPU, the same pictures as in Node. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { build } from "vite";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { psnr } from "../../src/image/psnr.ts";
import type { Picture } from "../../src/index.ts";
import { Pipeline } from "../../src/index.ts";
import type { WorkerPipeline } from "../../src/web/client.ts";
import { hasChromium, startChromium } from "./chromium.ts";
import { type Site, startSite } from "./site.ts";

const root = resolve(import.meta.dirname, "../..");
const model = "/models/koala-emoji";
const request = { prompt: "a red apple", seed: 7, steps: 4 };

let folder: string;
let site: Site;
let browser: Browser;
let context: BrowserContext;
let page: Page;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "koala-browser-"));
  await build({
    configFile: join(root, "test/browser/vite.config.ts"),
    build: { outDir: folder, emptyOutDir: true },
  });
  browser = await startChromium();
}, 300_000);

afterAll(async () => {
  await browser?.close();
  await rm(folder, { recursive: true });
});

beforeEach(async () => {
  site = await startSite(folder, { "koala-emoji": join(root, "models/koala-emoji") });
  context = await browser.newContext();
  page = await context.newPage();
  await page.goto(site.url);
});

afterEach(async () => {
  await context.close();
  await site.stop();
});

interface Drawn {
  readonly width: number;
  readonly height: number;
  readonly data: number[];
  readonly kinds: string[];
  readonly engine: string;
}

declare const koala: {
  start(): WorkerPipeline;
  opErrors(engine: string): Promise<Record<string, [number, number] | string>>;
};

/** Draws in the page, by an engine of that name. */
const draw = (engine: string): Promise<Drawn> =>
  page.evaluate(
    async ([location, name, asked]) => {
      const pipeline = koala.start();
      const loaded = await pipeline.load(location, name);
      const kinds: string[] = [];
      let picture: Picture | null = null;
      for await (const event of pipeline.generate(asked)) {
        kinds.push(event.type);
        if (event.type === "image") picture = event.picture;
      }
      pipeline.dispose();
      if (picture === null) throw new Error("no picture");
      const { width, height, data } = picture;
      return { width, height, data: [...data], kinds, engine: loaded.engine };
    },
    [model, engine, request] as const,
  );

const failure = (location: string): Promise<string> =>
  page.evaluate(async (place) => {
    const pipeline = koala.start();
    return pipeline.load(place, "wasm").then(
      () => "no error",
      (error: Error) => error.message,
    );
  }, location);

async function drawnInNode(): Promise<Picture> {
  const pipeline = await Pipeline.load(join(root, "models/koala-emoji"), { engine: "ort" });
  try {
    for await (const event of pipeline.generate(request)) if (event.type === "image") return event.picture;
  } finally {
    await pipeline.dispose();
  }
  throw new Error("no picture");
}

const asPicture = ({ width, height, data }: Drawn): Picture => ({
  width,
  height,
  data: new Uint8Array(data),
});

describe.skipIf(!hasChromium)("in Chromium", () => {
  test.each(["wasm", "webgpu"])("every op on %s is its float64 reference", async (engine) => {
    const errors = await page.evaluate((name) => koala.opErrors(name), engine);
    const loose: readonly string[] = engine === "webgpu" ? ["sin", "cos"] : []; // WGSL promises 2^-11 of these
    const off = Object.entries(errors).filter(
      ([name, found]) =>
        typeof found === "string" || (!loose.includes(name) && (found[0] > 2e-6 || found[1] > 2e-5)),
    );
    expect(off).toEqual([]);
  });

  test("WebAssembly and WebGPU draw what Node draws", async () => {
    const here = await drawnInNode();
    const wasm = await draw("wasm");
    expect(wasm.engine).toBe("wasm");
    expect(wasm.kinds.filter((kind) => kind === "step")).toHaveLength(4);
    expect(psnr(asPicture(wasm), here)).toBeGreaterThan(40);
    const webgpu = await draw("webgpu");
    expect(webgpu.engine).toBe("webgpu");
    expect(psnr(asPicture(webgpu), here)).toBeGreaterThan(40);
  });

  test("auto takes WebAssembly where the graphics adapter is software", async () => {
    expect((await draw("auto")).engine).toBe("wasm");
  });

  test("a model is fetched once, and drawn from when the network is gone", async () => {
    await draw("wasm");
    const before = site.asked.filter(({ path }) => path.endsWith(".safetensors")).length;
    expect(before).toBe(4);
    await draw("wasm");
    expect(site.asked.filter(({ path }) => path.endsWith(".safetensors"))).toHaveLength(before);
    // the engine's own files come from the browser's cache; the model's list cannot be had
    await context.route("**/koala-files.json", (route) => route.abort());
    expect((await draw("wasm")).kinds).toContain("image");
  });

  test("a broken download goes on where it stopped", async () => {
    site.breakOnce = { name: "unet/diffusion_pytorch_model.safetensors", after: 1_000_000 };
    expect((await draw("wasm")).kinds).toContain("image");
    const ranges = site.asked
      .filter(({ path }) => path.includes("/unet/diffusion"))
      .map(({ range }) => range);
    expect(ranges[0]).toBeUndefined();
    expect(ranges[1]).toMatch(/^bytes=[1-9]\d*-$/);
  });

  test("what a page keeps is told, and can be taken away", async () => {
    const told = await page.evaluate(async (location) => {
      const pipeline = koala.start();
      await pipeline.load(location, "wasm");
      const before = await pipeline.surroundings();
      await pipeline.remove(location);
      return { before, after: await pipeline.surroundings() };
    }, model);
    expect(told.before.isKept).toBe(true);
    expect(told.before.models.map(({ location }) => location)).toEqual([model]);
    expect(told.before.models[0]?.hereBytes).toBe(told.before.models[0]?.bytes);
    expect(told.before.engines.map(({ name, isAvailable }) => [name, isAvailable])).toEqual([
      ["webgpu", true],
      ["wasm", true],
    ]);
    expect(told.after.models).toEqual([]);
  });

  test("a cancelled picture ends at once, and the next one is drawn", async () => {
    const told = await page.evaluate(
      async ([location, asked]) => {
        const pipeline = koala.start();
        await pipeline.load(location, "wasm");
        const stop = new AbortController();
        let steps = 0;
        const end = await (async () => {
          for await (const event of pipeline.generate({ ...asked, steps: 1000 }, { signal: stop.signal })) {
            if (event.type === "step" && ++steps === 2) stop.abort();
          }
        })().then(
          () => "done",
          (error: Error) => error.name,
        );
        let pictures = 0;
        for await (const event of pipeline.generate(asked)) if (event.type === "image") pictures++;
        return { steps, end, pictures };
      },
      [model, request] as const,
    );
    expect(told.end).toBe("AbortError");
    expect(told.steps).toBeLessThan(100); // those that were on their way while the page had no processor
    expect(told.pictures).toBe(1);
  });

  test("draws a mask's surroundings into a picture that keeps its size, and nothing outside of it", async () => {
    const told = await page.evaluate(
      async ([location, asked]) => {
        /** A picture of 300 x 200 px as a file, with a square in it. */
        const file = async (ground: string, square: string): Promise<Blob> => {
          const canvas = new OffscreenCanvas(300, 200);
          const context = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
          context.fillStyle = ground;
          context.fillRect(0, 0, 300, 200);
          context.fillStyle = square;
          context.fillRect(200, 40, 50, 40);
          return canvas.convertToBlob();
        };
        const start = { image: await file("#8090a0", "#8090a0"), mask: await file("black", "white") };
        const pipeline = koala.start();
        await pipeline.load(location, "wasm");
        const counts = { width: 0, height: 0, outside: 0, inside: 0 };
        const said = { ...asked, paddingMaskCrop: 16, maskedContent: "fill" } as const;
        for await (const event of pipeline.generate(said, { start })) {
          if (event.type !== "image") continue;
          const { width, height, data } = event.picture;
          Object.assign(counts, { width, height });
          for (const [i, value] of data.entries()) {
            const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
            const isInside = x >= 200 && x < 250 && y >= 40 && y < 80;
            if (value !== [0x80, 0x90, 0xa0][i % 3]) counts[isInside ? "inside" : "outside"]++;
          }
        }
        return counts;
      },
      [model, request] as const,
    );
    expect(told).toMatchObject({ width: 300, height: 200, outside: 0 });
    expect(told.inside).toBeGreaterThan(3000); // of 6000 bytes
  });

  test("says in one sentence what is wrong", async () => {
    expect(await failure("nonsense")).toBe(
      "nonsense: expected the address of a model's folder, or a hub id (owner/name), got neither [E_MODEL]",
    );
    expect(await failure("/models/nothing")).toMatch(
      /^\/models\/nothing: expected something that http:\/\/127\.0\.0\.1:\d+ has, got 404 Not Found \[E_HUB\]/,
    );
    expect(
      await page.evaluate(async (location) => {
        const pipeline = koala.start();
        return pipeline.load(location, "wsam").then(
          () => "no error",
          (error: Error) => error.message,
        );
      }, model),
    ).toBe("engine: expected one of auto, webgpu, wasm, got wsam [E_ENGINE]\nDid you mean wasm?");
  });
});
