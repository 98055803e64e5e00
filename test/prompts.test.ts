/** Long prompts, weights of words and skipped layers: encoders' states against transformers, pictures against diffusers. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compile } from "../src/engine/compile.ts";
import type { Picture } from "../src/image/pixels.ts";
import { psnr } from "../src/image/psnr.ts";
import { openFolder } from "../src/node/files.ts";
import { ortEngine } from "../src/node/ort-node.ts";
import { encodePrompts } from "../src/pipeline/encode.ts";
import { openDrawable } from "../src/pipeline/model.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import type { Request, RequestInput } from "../src/pipeline/request.ts";
import { Stage } from "../src/pipeline/stage.ts";
import { type Tensor, toFloat32 } from "../src/tensor/tensor.ts";
import { type GoldenTensor, goldenJson, goldenTensors } from "./golden.ts";
import { writeFamily } from "./model-folder.ts";

interface GoldenRequest {
  readonly family: string;
  readonly prompt: string;
  readonly negative: string | null;
  readonly steps: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
  readonly seed: number;
  readonly clipSkip: number;
}

const { requests } = goldenJson("prompts.json") as { requests: Record<string, GoldenRequest> };
const expected = goldenTensors("prompts.safetensors");

const inputOf = ({ family: _, negative, ...r }: GoldenRequest): RequestInput => {
  const { prompt, steps, guidance, width, height, seed, clipSkip } = r;
  return {
    ...{ prompt, steps, guidance, width, height, seed, clipSkip },
    ...(negative === null ? {} : { negativePrompt: negative }),
  };
};

let work = "";
const folderOf = (family: string): string => join(work, family);
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "koala-prompts-"));
  for (const family of new Set(Object.values(requests).map((r) => r.family)))
    writeFamily(folderOf(family), family);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe("pictures are diffusers' from such states", () => {
  it.each(Object.entries(requests))("%s", async (name, r) => {
    const pipeline = await Pipeline.load(folderOf(r.family), { isOffline: true });
    const pictures: Picture[] = [];
    for await (const event of pipeline.generate(inputOf(r))) {
      expect(event.type).not.toBe("warning");
      if (event.type === "image") pictures.push(event.picture);
    }
    await pipeline.dispose();
    const data = expected.get(name)?.data as Uint8Array<ArrayBuffer>;
    const { width, height } = r;
    expect(psnr(pictures[0] as Picture, { width, height, data })).toBeGreaterThanOrEqual(50);
  });
});

/** What the denoiser is told of a request, and how often an encoder ran for that. */
async function told(r: GoldenRequest): Promise<{ conditions: Record<string, Tensor>; runs: number }> {
  const pipeline = await Pipeline.load(folderOf(r.family), { isOffline: true });
  const request = pipeline.resolve(inputOf(r));
  await pipeline.dispose();
  const fails = (): never => expect.unreachable();
  const model = await openDrawable(await openFolder(folderOf(r.family)), { openBase: fails, warn: fails });
  let runs = 0;
  const conditions = await encodePrompts(request, model, {
    ...{ stages: model.texts.map(() => new Stage()), staysLoaded: false, warn: fails, blame: fails },
    async compile(part, batch) {
      const o = { engine: ortEngine(), store: part.store, threads: 1 };
      const program = await compile(part.graph(batch), o);
      const run: typeof program.run = (...feeds) => {
        runs++;
        return program.run(...feeds);
      };
      return { inputs: program.inputs, run, dispose: () => program.dispose() } as typeof program;
    },
  });
  return { conditions, runs };
}

describe("states are transformers'", () => {
  const names = Object.keys(requests).filter((name) => expected.has(`${name}.prompt_embeds`));
  it.each(names)("%s", async (name) => {
    const { conditions } = await told(requests[name] as GoldenRequest);
    for (const [ours, theirs] of [
      ["text", "prompt_embeds"],
      ["pooled", "pooled_prompt_embeds"],
    ] as const) {
      const golden = expected.get(`${name}.${theirs}`) as GoldenTensor | undefined;
      if (golden === undefined) continue;
      const values = toFloat32(conditions[ours] as Tensor).subarray(-golden.data.length); // the prompt stands last
      const most = golden.data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      const off = values.reduce((a, v, i) => Math.max(a, Math.abs(v - (golden.data[i] ?? 0))), 0);
      expect(off / most).toBeLessThan(1e-4);
      expect(conditions[ours]?.shape.slice(1)).toEqual(golden.shape.slice(1));
    }
  });

  it("in one run of each encoder without weights, and as few as can be with them", async () => {
    const runsFor = async (prompt: string, negative: string): Promise<number> =>
      (await told({ ...(requests["sd15-long"] as GoldenRequest), prompt, negative })).runs;
    const long = requests["sd15-long"]?.prompt ?? "";
    expect(await runsFor("a (red) apple", "blurry")).toBe(1);
    expect(await runsFor("a (red:1.2) apple", "")).toBe(1); // the empty text is the negative prompt
    expect(await runsFor("a (red:1.2) apple", "blurry")).toBe(2);
    expect(await runsFor(long, "")).toBe(2);
  });
});

it("taps, plan and words' positions know of all chunks", async () => {
  const { prompt } = requests["sd15-long"] as GoldenRequest;
  const pipeline = await Pipeline.load(folderOf("sd15"), { isOffline: true });
  const small = { steps: 1, width: 64, height: 64, seed: 1 };
  const [short, long] = ["a red apple", prompt].map((said) => pipeline.resolve({ ...small, prompt: said }));
  const tap = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k";
  const told = [short, long].map((request) => pipeline.taps(request).get(tap)?.[1]);
  const heard: (readonly number[] | undefined)[] = [];
  for await (const _ of pipeline.generate(long as Request, {
    ...{ taps: [tap], hear: (values: Readonly<Record<string, Tensor>>) => heard.push(values[tap]?.shape) },
  }));
  expect([told, heard[0]?.[1]]).toEqual([[32, 64], 64]);
  // large, so that values outweigh weights
  const large = { ...small, width: 512, height: 512 };
  const [few = 0, many = 0] = ["a red apple", `${prompt}, `.repeat(16)].map(
    (said) =>
      pipeline.plan(pipeline.resolve({ ...large, prompt: said })).stages.find(({ name }) => name === "unet")
        ?.bytes,
  );
  expect(many).toBeGreaterThan(few);
  expect(pipeline.positionsOf(prompt, "a")[0]).toBe(1);
  expect(pipeline.positionsOf(prompt, "a house")[0]).toBe(32 + 1); // after the begin of the second chunk
  await pipeline.dispose();
});
