/** Pictures that start from a picture, with masks and without, against diffusers; and what is refused. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Picture } from "../src/image/pixels.ts";
import { psnr } from "../src/image/psnr.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import { drawn } from "./drawn.ts";
import { goldenJson, goldenTensors } from "./golden.ts";
import { emojiModel, writeFamily, writeInpainting } from "./model-folder.ts";
import { thrownBy } from "./thrown-by.ts";

let work = "";
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "koala-starts-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

interface GoldenStart {
  readonly kind: "image" | "mask" | "read";
  readonly family: string;
  readonly strength: number;
  readonly prompt: string;
  readonly negative: string | null;
  readonly steps: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
  readonly seed: number;
  readonly count: number;
  readonly scheduler?: object;
}

describe("pictures that start from a picture are diffusers'", () => {
  const { requests } = goldenJson("starts.json") as { requests: Record<string, GoldenStart> };
  const expected = goldenTensors("starts.safetensors");
  const bytes = (name: string) => expected.get(name)?.data as Uint8Array<ArrayBuffer>;

  it.each(Object.entries(requests))("%s", async (name, r) => {
    const { prompt, steps, guidance, strength, width, height, seed, count } = r;
    const write = r.kind === "read" ? writeInpainting : (at: string) => writeFamily(at, r.family, r);
    const pipeline = await Pipeline.load(write(join(work, name), r.family, r.scheduler), { isOffline: true });
    const size = { width, height };
    const start = {
      image: { ...size, data: bytes(`start ${width}x${height}`) },
      ...(r.kind === "image" ? {} : { mask: { ...size, data: bytes(`mask ${width}x${height}`) } }),
    };
    const pictures = await drawn(
      pipeline,
      {
        ...{ prompt, steps, guidance, strength, ...size, seed, count },
        ...(r.negative === null ? {} : { negativePrompt: r.negative }),
      },
      start,
    );
    await pipeline.dispose();
    expect(pictures.length).toBe(count);
    const tall = (data: Uint8Array<ArrayBuffer>): Picture => ({ width, height: height * count, data });
    const ours = new Uint8Array(pictures.flatMap((picture) => [...picture.data]));
    expect(psnr(tall(ours), tall(bytes(name)))).toBeGreaterThanOrEqual(50);
  });
});

describe("the emoji model", () => {
  const grey = (width: number, height: number, value: number): Picture => ({
    ...{ width, height },
    data: new Uint8Array(3 * width * height).fill(value),
  });
  const image = grey(128, 128, 200);
  const mask = grey(128, 128, 0);
  for (let i = 0; i < mask.data.length / 2; i++) mask.data[i] = 255; // the upper half
  const request = { prompt: "a red apple", steps: 4, seed: 1 };
  let pipeline: Pipeline;
  beforeAll(async () => {
    pipeline = await Pipeline.load(emojiModel, { isOffline: true });
  });
  afterAll(() => pipeline.dispose());

  it("keeps every pixel that the mask leaves, and draws where it is white", async () => {
    const [picture] = await drawn(pipeline, request, { image, mask });
    const half = image.data.length / 2;
    expect(picture?.data.subarray(half).every((v) => v === 200)).toBe(true);
    expect(picture?.data.subarray(0, half).some((v) => v !== 200)).toBe(true);
  });

  /** A slope of greys of another size than the model's, with a square of the mask in it whose edge is soft. */
  const large = { ...grey(300, 200, 0) };
  for (let i = 0; i < large.data.length; i++) large.data[i] = (Math.floor(i / 3) % 300) / 2 + (i % 3) * 20;
  const square = grey(300, 200, 0);
  for (let y = 50; y < 90; y++)
    for (let x = 200; x < 260; x++)
      square.data.fill(y < 52 || y > 87 ? 128 : 255, 3 * (300 * y + x), 3 * (300 * y + x + 1));

  it.each([
    [0, "original"],
    [24, "fill"],
    [8192, "noise"],
  ] as const)("draws a mask's surroundings, %i px around it, into a picture of any size", async (padding, content) => {
    const said = { ...request, paddingMaskCrop: padding, maskedContent: content };
    const [picture] = await drawn(pipeline, said, { image: large, mask: square });
    expect([picture?.width, picture?.height]).toEqual([300, 200]);
    const changed = picture?.data.map((v, i) => Number(v !== large.data[i])) ?? new Uint8Array();
    expect(changed.every((isOther, i) => isOther === 0 || square.data[i] !== 0)).toBe(true);
    expect(changed.reduce((sum, v) => sum + v, 0)).toBeGreaterThan(3 * 60 * 40 * 0.5);
  });

  it("records what of the picture was drawn, and over what", async () => {
    const said = { ...request, paddingMaskCrop: 8, maskedContent: "fill" } as const;
    for await (const event of pipeline.generate(said, { image: large, mask: square }))
      if (event.type === "image")
        expect(event.request).toMatchObject({
          ...{ width: 128, height: 128, strength: 1, paddingMaskCrop: 8, maskedContent: "fill" },
        });
  });

  it("draws over other things under a mask, and keeps the rest of each", async () => {
    const contents = ["original", "fill", "noise", "nothing"] as const;
    const half = image.data.length / 2;
    const dark = { ...image, data: image.data.map((v, i) => (i < half ? 20 : v)) };
    for (const [strength, distinct] of [
      [0.5, 4],
      [1, 3], // zeros under all of the noise are what original begins with then: noise alone
    ] as const) {
      const upper: string[] = [];
      for (const maskedContent of contents) {
        const [picture] = await drawn(
          pipeline,
          { ...request, strength, maskedContent },
          { image: dark, mask },
        );
        expect(picture?.data.subarray(half).every((v) => v === 200)).toBe(true);
        upper.push(picture?.data.subarray(0, half).join() ?? "");
      }
      expect(new Set(upper).size).toBe(distinct);
      const [without] = await drawn(pipeline, { ...request, strength }, { image: dark, mask });
      expect(without?.data.subarray(0, half).join()).toBe(upper[0]);
    }
  });

  it("records the strength, and stays nearer to the picture at less of it", async () => {
    const distance = async (strength: number): Promise<number> => {
      let away = 0;
      for await (const event of pipeline.generate({ ...request, strength }, { image }))
        if (event.type === "image") {
          away = -psnr(event.picture, image);
          expect(event.request.strength).toBe(strength);
        }
      return away;
    };
    expect(await distance(0.25)).toBeLessThan(await distance(1));
  });

  it("starts late with pndm too, which diffusers does not do right", async () => {
    const strengths = [0.25, 0.5, 0.75];
    for (const strength of strengths) {
      const steps: number[] = [];
      const last: Picture[] = [];
      for await (const event of pipeline.generate(
        { ...request, scheduler: "pndm", steps: 8, strength },
        { image },
      )) {
        if (event.type === "step") steps.push(event.timestep);
        if (event.type === "image") last.push(event.picture);
      }
      const distinct = [...new Set(steps)];
      expect(distinct.length).toBe(8 * strength);
      expect(steps.length).toBe(8 * strength + 1); // the second level twice
      expect(psnr(last[0] as Picture, image)).toBeGreaterThan(6);
    }
  });

  it("plans the memory of the VAE's encoder", () => {
    const planned = pipeline.plan(pipeline.resolve(request, { image })).stages.map(({ name }) => name);
    expect(planned).toContain("vae encoder");
    expect(pipeline.plan(pipeline.resolve(request)).stages.map(({ name }) => name)).not.toContain(
      "vae encoder",
    );
  });

  it.each([
    [{ ...request, strength: 0.5 }, {}, "strength: expected a picture to start from beside it, got none"],
    [request, { mask }, "mask: expected a picture to start from beside it, got none"],
    [
      request,
      { image: grey(64, 64, 0) },
      "image: expected 128 x 128 px, as the picture that is drawn, got 64 x 64 px",
    ],
    [request, { image, mask: grey(64, 64, 0) }, "mask: expected 128 x 128 px, as the picture that is drawn"],
    [
      { ...request, paddingMaskCrop: 8 },
      { image },
      "paddingMaskCrop: expected a mask of what is drawn anew beside it, got none",
    ],
    [
      { ...request, maskedContent: "original" as const },
      {},
      "maskedContent: expected a mask of what is drawn anew beside it, got none",
    ],
    [
      { ...request, paddingMaskCrop: 8 },
      { image: grey(64, 64, 0), mask: grey(64, 32, 255) },
      "mask: expected 64 x 64 px, as the picture, got 64 x 32 px",
    ],
    [
      { ...request, paddingMaskCrop: 8 },
      { image: grey(64, 64, 0), mask: grey(64, 64, 0) },
      "mask: expected some white, around which is drawn, got one that is black all over",
    ],
    [
      { ...request, strength: 0.2 },
      { image },
      "strength: expected at least 0.25 at 4 steps, so that one is taken, got 0.2",
    ],
  ])("refuses %j", (input, start, message) => {
    expect(thrownBy(() => pipeline.resolve(input, start))).toContain(message);
  });

  it.each([
    [{ width: 400, height: 200 }, {}, { width: 184, height: 88 }],
    [{ width: 400, height: 200 }, { width: 128 }, { width: 128, height: 64 }],
    [{ width: 400, height: 200 }, { height: 128 }, { width: 256, height: 128 }],
    [
      { width: 400, height: 200 },
      { width: 64, height: 64 },
      { width: 64, height: 64 },
    ],
    [{ width: 4000, height: 100 }, {}, { width: 808, height: 24 }],
  ])("takes for %j with %j the size %j", (picture, said, size) => {
    expect(pipeline.sizeLike(picture, said)).toEqual(size);
  });
});

it("an inpainting model draws a mask's surroundings too, over each content", async () => {
  const pipeline = await Pipeline.load(writeInpainting(join(work, "part"), "sd15", undefined), {
    isOffline: true,
  });
  const image: Picture = { width: 90, height: 50, data: new Uint8Array(3 * 90 * 50).fill(90) };
  const mask = { ...image, data: new Uint8Array(3 * 90 * 50).fill(255, 6000, 7000) };
  const upper = new Set<string>();
  for (const maskedContent of ["original", "fill", "noise", "nothing"] as const) {
    const said = { prompt: "a", seed: 1, steps: 2, width: 64, height: 64, paddingMaskCrop: 4, maskedContent };
    const [picture] = await drawn(pipeline, said, { image, mask });
    expect(picture?.data.every((v, i) => v === 90 || mask.data[i - (i % 3)] !== 0)).toBe(true);
    upper.add(picture?.data.join() ?? "");
  }
  expect(upper.size).toBe(4);
  await pipeline.dispose();
});

it("an inpainting model asks for a picture and a mask", async () => {
  const pipeline = await Pipeline.load(writeInpainting(join(work, "inpainting"), "sd15", undefined), {
    isOffline: true,
  });
  expect(thrownBy(() => pipeline.resolve({ prompt: "a" }))).toContain(
    "image: expected a picture and a mask of what is drawn anew, since this model is one for inpainting, got nothing",
  );
  await pipeline.dispose();
});
