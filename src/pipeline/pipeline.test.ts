/** What a pipeline promises beside the right picture, which test/pictures.test.ts holds against diffusers. */

import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import {
  type FloatType,
  readJsonFile,
  weightPath,
  weightsFor,
  writeFamily,
  writeWeights,
} from "../../test/model-folder.ts";
import { compile } from "../engine/compile.ts";
import { type Picture, toPictures } from "../image/pixels.ts";
import { psnr } from "../image/psnr.ts";
import { buildVaeDecoder, vaeConfig } from "../models/vae.ts";
import { engine } from "../node/engines.ts";
import { openFolder } from "../node/files.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { openComponent } from "../weights/layout.ts";
import type { PipelineEvent } from "./events.ts";
import { type LoadOptions, Pipeline } from "./pipeline.ts";
import type { RequestInput } from "./request.ts";
import { Stage } from "./stage.ts";

let work = "";
/** A KOALA-700M in small. */
let koala = "";
let pipeline: Pipeline;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "koala-pipeline-"));
  koala = writeFamily(join(work, "koala"), "koala-700m");
  pipeline = await Pipeline.load(koala);
});
afterAll(async () => {
  await pipeline.dispose();
  rmSync(work, { recursive: true, force: true });
});

/** A pipeline that is disposed when the test is over. */
async function open(folder: string, o: LoadOptions = {}): Promise<Pipeline> {
  const opened = await Pipeline.load(folder, { isOffline: true, ...o });
  onTestFinished(() => opened.dispose());
  return opened;
}

const small = { prompt: "red apple", steps: 2, width: 64, height: 64, seed: 3 } satisfies RequestInput;

async function eventsOf(
  p: Pipeline,
  request: RequestInput,
  o: { signal?: AbortSignal } = {},
): Promise<PipelineEvent[]> {
  const events: PipelineEvent[] = [];
  for await (const event of p.generate(request, o)) events.push(event);
  return events;
}

const picturesIn = (events: readonly PipelineEvent[]): Picture[] =>
  events.flatMap((event) => (event.type === "image" ? [event.picture] : []));

async function draw(p: Pipeline, request: RequestInput = small): Promise<Picture> {
  return picturesIn(await eventsOf(p, request))[0] as Picture;
}

const inShort = (event: PipelineEvent): string => {
  switch (event.type) {
    case "stage":
      return `${event.stage}: ${event.detail}`;
    case "step":
      return `step ${event.index}: ${event.step} of ${event.steps}`;
    case "preview":
      return `preview ${event.index}: ${event.step}`;
    case "image":
      return `image ${event.index} of seed ${event.seed}`;
    case "warning":
      return "warning";
  }
};

it("tells how long each stage of the denoiser takes", async () => {
  const opened = await open(koala);
  const done: string[] = [];
  const times = await opened.stageTimes({ onStage: (at, of) => void done.push(`${at}/${of}`) });
  expect(Object.keys(times).sort()).toEqual(["DW1", "DW2", "DW3", "UP1", "UP2", "UP3", "stem"]);
  for (const seconds of Object.values(times)) expect(seconds).toBeGreaterThan(0);
  expect(done).toEqual(["1/7", "2/7", "3/7", "4/7", "5/7", "6/7", "7/7"]);
});

describe("events", () => {
  it("come in the order of the work", async () => {
    expect((await eventsOf(pipeline, small)).map(inShort)).toEqual([
      "text: 2 text encoders",
      "load: U-Net",
      "denoise: picture 1 of 1",
      "step 0: 1 of 2",
      "step 0: 2 of 2",
      "decode: VAE",
      "image 0 of seed 3",
    ]);
  });

  it("tell of a step its timestep, noise level and time", async () => {
    const steps = (await eventsOf(pipeline, small)).filter((event) => event.type === "step");
    expect(steps.map(({ timestep }) => timestep)).toEqual([999, 499]); // trailing: 1000 and 500, less one
    expect(steps.at(-1)?.sigma).toBe(0);
    for (const { seconds } of steps) expect(seconds).toBeGreaterThan(0);
  });

  it("hold a rough picture after every step but the last with preview: true", async () => {
    const events = await eventsOf(pipeline, { ...small, steps: 3, preview: true });
    expect(events.map(inShort).filter((said) => /^(step|preview)/.test(said))).toEqual([
      ...["step 0: 1 of 3", "preview 0: 1", "step 0: 2 of 3", "preview 0: 2", "step 0: 3 of 3"],
    ]);
    const [first] = events.filter((event) => event.type === "preview");
    expect(first?.picture).toMatchObject({ width: 64, height: 64 });
    expect(new Set(first?.picture.data).size).toBeGreaterThan(8);
    expect(picturesIn(events)[0]).toEqual(await draw(pipeline, { ...small, steps: 3 }));
  });

  it("say once which end of which prompt did not fit, and quote no more than its beginning", async () => {
    const long = { ...small, steps: 1, prompt: "apple ".repeat(482), negativePrompt: "worm ".repeat(1000) };
    const messages = (await eventsOf(pipeline, long)).flatMap((e) =>
      e.type === "warning" ? [e.message] : [],
    );
    expect(messages.length).toBe(2);
    expect(messages[0]).toMatch(
      /^the negative prompt is longer than the 512 tokens that the text encoder reads; this was cut off: .{200}… \(\d+ characters more\)$/,
    );
    expect(messages[1]).toBe(
      "the prompt is longer than the 512 tokens that the text encoder reads; this was cut off: apple apple",
    );
  });
});

describe("decoding", () => {
  it("divides latents by the scaling factor of the VAE's config.json", async () => {
    const image = (await eventsOf(pipeline, small)).find((event) => event.type === "image");
    const config = readJsonFile(join(koala, "vae/config.json"));
    const scale = config.scaling_factor as number;
    const latents = toFloat32(image?.latents as Tensor).map((v) => v / scale);
    const { store } = await openComponent(await openFolder(koala), "vae");
    const { outputs } = buildVaeDecoder(vaeConfig(config), { batch: 1, height: 8, width: 8 });
    const program = await compile(outputs, { engine: await engine("auto"), store });
    onTestFinished(() => program.dispose());
    const { picture } = await program.run({ latents: float32([1, 4, 8, 8], latents) });
    expect([image?.picture]).toEqual(toPictures(picture as Tensor)); // 1% of scale would show in a byte or two
  });
});

describe("several pictures", () => {
  it("are those of single calls with seeds seed + i, bit for bit", async () => {
    const together = await eventsOf(pipeline, { ...small, count: 3 });
    const seeds = together.flatMap((event) => (event.type === "image" ? [event.seed] : []));
    expect(seeds).toEqual([3, 4, 5]);
    const singly = [3, 4, 5].map((seed) => async () => draw(pipeline, { ...small, seed }));
    for (const [i, single] of singly.entries()) expect(picturesIn(together)[i]).toEqual(await single());
  });

  it("are the same where only one stage fits in memory, and then all are decoded at the end", async () => {
    const frugal = await open(koala, { residentBytes: 0 });
    const events = await eventsOf(frugal, { ...small, count: 2 });
    expect(picturesIn(events)).toEqual(picturesIn(await eventsOf(pipeline, { ...small, count: 2 })));
    expect(events.map(inShort).slice(-3)).toEqual(["decode: VAE", "image 0 of seed 3", "image 1 of seed 4"]);
  });
});

it("programs that stayed make room for a request that has one stage in memory at a time", async () => {
  const freeBytes = pipeline.plan(pipeline.resolve(small), {}).peak;
  const tight = await open(koala, { freeBytes });
  await draw(tight);
  const freed = vi.spyOn(Stage.prototype, "free");
  const larger = { ...small, width: 128, height: 128 };
  for await (const event of tight.generate(larger)) {
    if (event.type === "stage" && event.stage === "text") expect(freed).toHaveBeenCalledTimes(5);
  }
});

describe("two calls at once", () => {
  it("run one after the other and draw what they draw alone", async () => {
    const order: string[] = [];
    const run = async (name: string, seed: number): Promise<Picture> => {
      const events: PipelineEvent[] = [];
      for await (const event of pipeline.generate({ ...small, seed })) {
        order.push(name);
        events.push(event);
      }
      return picturesIn(events)[0] as Picture;
    };
    const both = await Promise.all([run("first", 8), run("second", 9)]);
    expect(order).toEqual([...order].sort()); // every event of the first before any of the second
    expect(both).toEqual([
      await draw(pipeline, { ...small, seed: 8 }),
      await draw(pipeline, { ...small, seed: 9 }),
    ]);
  });

  it("do not wait for one that was left in the middle", async () => {
    for await (const event of pipeline.generate(small)) if (event.type === "step") break;
    expect(await draw(pipeline)).toMatchObject({ width: 64 });
  });

  it("do not suffer when one fails", async () => {
    await expect(eventsOf(pipeline, { ...small, width: 12 })).rejects.toThrow(
      "width: expected a multiple of 8 from 8 to 4096 (px), got 12 [E_REQUEST]",
    );
    expect(await draw(pipeline)).toMatchObject({ width: 64 });
  });
});

describe("guidance", () => {
  const four = { ...small, steps: 4, guidance: 5 } satisfies RequestInput;

  /** The picture, the noise levels after its steps, and how many prompts each run of the U-Net was fed. */
  async function watched(o: Partial<RequestInput>) {
    const runs: number[] = [];
    const sigmas: number[] = [];
    let picture: Picture | undefined;
    const watch = ({ sample }: Readonly<Record<string, Tensor>>): void =>
      void runs.push(sample?.shape[0] ?? 0);
    for await (const event of pipeline.generate({ ...four, ...o }, { watch })) {
      if (event.type === "step") sigmas.push(event.sigma);
      if (event.type === "image") picture = event.picture;
    }
    return { runs, sigmas, picture: picture as Picture };
  }

  it("by one prompt after the other draws what both at once draw", async () => {
    const both = await watched({});
    const turns = await watched({ guidanceFrom: 1000 });
    expect([both.runs, turns.runs]).toEqual([new Array(4).fill(2), new Array(8).fill(1)]);
    expect(psnr(turns.picture, both.picture)).toBeGreaterThan(60);
  });

  it("holds in its interval: at its upper end and not at its lower; outside, a step is one run", async () => {
    const { sigmas, picture: whole } = await watched({});
    const late = await watched({ guidanceFrom: sigmas[0] }); // the level of the second step
    expect(late.runs).toHaveLength(1 + 3 * 2);
    const early = await watched({ guidanceUntil: sigmas[0] });
    expect(early.runs).toHaveLength(2 + 3);
    for (const { picture } of [late, early]) expect(psnr(picture, whole)).toBeLessThan(50);
  });

  it("outside of its interval draws what no guidance draws, bit for bit", async () => {
    const never = await watched({ guidanceFrom: 0 });
    expect(never.picture.data).toEqual((await watched({ guidance: 1 })).picture.data);
  });

  it("is in turns where both prompts at once do not fit, or are no faster", async () => {
    const request = pipeline.resolve({ ...small, width: 448, height: 448 });
    const both = pipeline.plan(request, {});
    const unet = ({ stages }: typeof both): number => stages.find(({ name }) => name === "unet")?.bytes ?? 0;
    const tight = pipeline.plan(request, { freeBytes: unet(both) - 1 });
    expect([both.isInTurns, tight.isInTurns]).toEqual([false, true]);
    expect(unet(tight)).toBeLessThan(unet(both));
    const large = pipeline.resolve({ ...small, width: 512, height: 512 });
    expect(pipeline.plan(large, {}).isInTurns).toBe(true); // no slower on a processor, and half the values
  });
});

describe("an aborted signal", () => {
  it("ends the run within one step, with its own reason, and the next call works", async () => {
    const stop = new AbortController();
    let steps = 0;
    const run = async (): Promise<void> => {
      for await (const event of pipeline.generate({ ...small, steps: 50 }, { signal: stop.signal })) {
        if (event.type === "step" && ++steps === 2) stop.abort(new Error("enough"));
      }
    };
    await expect(run()).rejects.toThrow("enough");
    expect(steps).toBe(2);
    expect(await draw(pipeline)).toMatchObject({ width: 64 });
  });

  it("ends a call that waits for another, before that one is done", async () => {
    const running = pipeline.generate({ ...small, steps: 50 });
    await running.next();
    const stop = new AbortController();
    const waiting = eventsOf(pipeline, small, { signal: stop.signal });
    const after = draw(pipeline);
    stop.abort(new Error("no longer"));
    await expect(waiting).rejects.toThrow("no longer");
    expect((await running.next()).done).toBe(false);
    await running.return(undefined);
    expect(await after).toEqual(await draw(pipeline));
  });

  it("that is aborted before the call lets nothing begin", async () => {
    await expect(eventsOf(pipeline, small, { signal: AbortSignal.abort(new Error("no")) })).rejects.toThrow(
      "no",
    );
  });
});

describe("dispose", () => {
  it("leaves a pipeline that can be used again", async () => {
    const before = await draw(pipeline);
    await pipeline.dispose();
    await pipeline.dispose();
    expect(await draw(pipeline)).toEqual(before);
  });

  const sentence = "pipeline: expected to be kept until its pictures are drawn, got dispose() [E_REQUEST]";

  it("ends what draws after its step, and what waits to draw", async () => {
    const before = await draw(pipeline);
    const calls = [draw(pipeline), draw(pipeline)];
    const ends = Promise.allSettled(calls);
    await pipeline.dispose();
    for (const end of await ends)
      expect(end).toMatchObject({ status: "rejected", reason: { message: sentence } });
    expect(await draw(pipeline)).toEqual(before);
  });

  it("ends a loop that disposes its own pipeline, and waits for none that was left in the middle", async () => {
    const types: string[] = [];
    for await (const { type } of pipeline.generate(small)) {
      types.push(type);
      if (type === "step") await pipeline.dispose();
    }
    expect(types.at(-1)).toBe("step");
    await pipeline.generate(small).next(); // and never asked again
    await pipeline.dispose();
    expect(await draw(pipeline)).toMatchObject({ width: small.width });
  });
});

describe("sizes", () => {
  it.each([
    [72, 40],
    [8, 8],
    [136, 64],
  ])("of %i x %i px, whose latents do not halve evenly, are drawn", async (width, height) => {
    expect(await draw(pipeline, { ...small, width, height })).toMatchObject({ width, height });
  });
});

describe("weights", () => {
  /** Rounding moves the weights alone: 56.8 dB was measured for float16, 46.2 dB for bfloat16's 8 bits. */
  it.each<[FloatType, number]>([
    ["float16", 52],
    ["bfloat16", 42],
  ])("in %s draw nearly the picture of float32", async (dtype, least) => {
    const folder = writeFamily(join(work, dtype), "koala-700m", { dtype });
    expect(psnr(await draw(await open(folder)), await draw(pipeline))).toBeGreaterThan(least);
  });

  it("of a variant are found under its name", async () => {
    const folder = writeFamily(join(work, "variant"), "koala-700m", { dtype: "float16", variant: ".fp16" });
    const plain = join(work, "float16");
    expect(await draw(await open(folder))).toEqual(await draw(await open(plain)));
  });

  it("in shards draw the same picture as whole", async () => {
    const folder = join(work, "shards");
    cpSync(koala, folder, { recursive: true });
    const whole = join(folder, weightPath("unet"));
    const weights = Object.entries(weightsFor("unet", readJsonFile(join(folder, "unet/config.json"))));
    const names = ["diffusion_pytorch_model-00001-of-00002", "diffusion_pytorch_model-00002-of-00002"];
    const map: Record<string, string> = {};
    for (const [i, name] of names.entries()) {
      const half = weights.filter((_, at) => at % 2 === i);
      writeWeights(join(folder, "unet", `${name}.safetensors`), Object.fromEntries(half));
      for (const [tensor] of half) map[tensor] = `${name}.safetensors`;
    }
    writeFileSync(`${whole}.index.json`, JSON.stringify({ metadata: {}, weight_map: map }));
    rmSync(whole);
    expect(await draw(await open(folder))).toEqual(await draw(pipeline));
  });
});

describe("a U-Net in a folder of its own", () => {
  it("is read by its own config.json and completed by the base", async () => {
    const [folder, base] = [join(work, "unet-alone"), join(work, "base")];
    mkdirSync(folder);
    cpSync(join(koala, "unet"), folder, { recursive: true });
    cpSync(koala, base, { recursive: true });
    rmSync(join(base, "unet"), { recursive: true });
    expect(await draw(await open(folder, { base }))).toEqual(await draw(pipeline));
  });
});

describe("a scheduler that koala has not", () => {
  it("is refused with its name, unless the request names another", async () => {
    const folder = join(work, "scheduler");
    cpSync(koala, folder, { recursive: true });
    const path = join(folder, "scheduler/scheduler_config.json");
    writeFileSync(path, JSON.stringify({ ...readJsonFile(path), _class_name: "DEISMultistepScheduler" }));
    const p = await open(folder);
    await expect(draw(p)).rejects.toThrow(
      new RegExp(
        `^${folder}/scheduler/scheduler_config.json \\(_class_name\\): expected one of .*, got "DEISMultistepScheduler" \\[E_CONFIG\\]\nAny model can be sampled by another method: set the scheduler to one of .*\\.$`,
      ),
    );
    expect(await draw(p, { ...small, scheduler: "euler", spacing: "trailing" })).toEqual(
      await draw(pipeline),
    );
  });
});
