/** In which order pictures are denoised and decoded, and that what is denoised is not lost. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { writeFamily } from "../../test/model-folder.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";
import type { PipelineEvent } from "./events.ts";
import { type PicturesOptions, pictures } from "./pictures.ts";
import { Pipeline } from "./pipeline.ts";
import type { RequestInput } from "./request.ts";

const stage = (detail: string): PipelineEvent => ({ type: "stage", stage: "denoise", detail });

/** What happened, in order; `during` is called as each thing begins. */
async function happened(
  o: Partial<PicturesOptions>,
  during: (what: string) => void = () => {},
): Promise<{ readonly log: readonly string[]; readonly end: unknown }> {
  const log: string[] = [];
  const say = (what: string): void => {
    log.push(what);
    during(what);
  };
  const all = pictures({
    ...{ count: 3, isTogether: false, ...o },
    async *denoise(index): AsyncGenerator<PipelineEvent, Tensor> {
      o.signal?.throwIfAborted();
      yield stage("");
      say(`denoise ${index}`);
      return float32([1], [index]);
    },
    freeDenoiser: async () => say("free"),
    async *decode(index, latents, signal) {
      signal?.throwIfAborted();
      say(`decode ${latents.data[0]}`);
      yield stage(`${index}`);
    },
  });
  try {
    for await (const event of all)
      if (event.type === "stage" && event.stage === "decode") log.push("decoding");
  } catch (error) {
    return { log, end: error };
  }
  return { log, end: null };
}

const enough = new Error("enough");
const broken = new Error("broken");
const failAt =
  (...where: readonly string[]) =>
  (what: string): void => {
    if (where.includes(what)) throw what === where[0] ? broken : new Error("another");
  };

describe("pictures", () => {
  it("are decoded one by one where both programs are in memory", async () => {
    const each = [0, 1, 2].flatMap((i) => [`denoise ${i}`, "decoding", `decode ${i}`]);
    expect(await happened({ isTogether: true })).toEqual({ log: each, end: null });
  });

  const decoded = (count: number) => [
    "free",
    "decoding",
    ...["decode 0", "decode 1", "decode 2"].slice(0, count),
  ];
  const denoised = ["denoise 0", "denoise 1", "denoise 2"];

  it("are decoded together, without the denoiser, where one is", async () => {
    expect(await happened({})).toEqual({ log: [...denoised, ...decoded(3)], end: null });
  });

  it("that are denoised before an error are decoded before it goes on", async () => {
    expect(await happened({}, failAt("denoise 2"))).toEqual({
      log: [...denoised, ...decoded(2)],
      end: broken,
    });
    expect(await happened({}, failAt("denoise 0"))).toEqual({ log: ["denoise 0"], end: broken });
  });

  it("leave the first error its word where they cannot be decoded either", async () => {
    for (const second of ["free", "decode 0"])
      expect((await happened({}, failAt("denoise 1", second))).end).toBe(broken);
    expect((await happened({}, failAt("decode 1"))).end).toBe(broken);
  });

  const stopAt = (where: string, o: Partial<PicturesOptions> = {}) => {
    const stop = new AbortController();
    return happened({ ...o, signal: stop.signal }, (what) => {
      if (what === where) stop.abort(enough);
    });
  };

  it("that are denoised before an abort are decoded before it is told", async () => {
    const log = ["denoise 0", "denoise 1", ...decoded(2)];
    expect(await stopAt("denoise 1")).toEqual({ log, end: enough });
  });

  it("are all there in spite of an abort after the last is denoised", async () => {
    for (const where of ["denoise 2", "decode 0"])
      expect(await stopAt(where)).toEqual({ log: [...denoised, ...decoded(3)], end: null });
  });

  it("are dropped by an abort on request", async () => {
    const o = { dropsFinished: true };
    expect(await stopAt("denoise 1", o)).toEqual({ log: ["denoise 0", "denoise 1"], end: enough });
    expect(await stopAt("decode 0", o)).toEqual({ log: [...denoised, ...decoded(1)], end: enough });
    const alone = await stopAt("denoise 0", { ...o, isTogether: true });
    expect(alone).toEqual({ log: ["denoise 0"], end: enough });
  });

  it("are not waited for by who leaves the loop", async () => {
    const decode = vi.fn(async function* (): AsyncGenerator<PipelineEvent> {});
    const left = pictures({
      ...{ count: 2, isTogether: false, freeDenoiser: async () => {}, decode },
      async *denoise(index) {
        yield stage("");
        return float32([1], [index]);
      },
    });
    await left.next();
    await left.next(); // of the second
    await left.return(undefined);
    expect(decode).not.toHaveBeenCalled();
  });
});

describe("a pipeline with one program in memory at a time", () => {
  let work = "";
  let folder = "";
  beforeAll(() => {
    work = mkdtempSync(join(tmpdir(), "koala-pictures-"));
    folder = writeFamily(join(work, "sd15"), "sd15");
  });
  afterAll(() => rmSync(work, { recursive: true, force: true }));

  async function open(): Promise<Pipeline> {
    const pipeline = await Pipeline.load(folder, { isOffline: true, residentBytes: 0 });
    onTestFinished(() => pipeline.dispose());
    return pipeline;
  }
  const request = {
    ...{ prompt: "a red apple", steps: 2, width: 64, height: 64, seed: 3, count: 3 },
    scheduler: "euler", // a run a step
  } satisfies RequestInput;

  it("yields the pictures that were denoised before an abort", async () => {
    const pipeline = await open();
    const whole: Uint8Array[] = [];
    for await (const event of pipeline.generate({ ...request, count: 2 }))
      if (event.type === "image") whole.push(event.picture.data);
    const stop = new AbortController();
    const images: Uint8Array[] = [];
    const run = async (): Promise<void> => {
      for await (const event of pipeline.generate(request, { signal: stop.signal })) {
        if (event.type === "step" && event.index === 2) stop.abort(enough);
        if (event.type === "image") images.push(event.picture.data);
      }
    };
    await expect(run()).rejects.toBe(enough);
    expect(images).toEqual(whole);
  });

  it("loses none to an abort during the last step of the last", async () => {
    const pipeline = await open();
    const stop = new AbortController();
    let [runs, images] = [0, 0];
    const watch = (): void => {
      if (++runs === 6) stop.abort(enough); // 3 pictures of 2 steps
    };
    for await (const event of pipeline.generate(request, { signal: stop.signal, watch }))
      if (event.type === "image") images++;
    expect([runs, images]).toEqual([6, 3]);
  });
});
