/** Pictures by OpenVINO, where it is installed, against diffusers'; and what happens where bf16 is too small a range. */

import { describe, expect, it, vi } from "vitest";
import type { Picture } from "../src/image/pixels.ts";
import { psnr } from "../src/image/psnr.ts";
import { readPicture } from "../src/node/image-file.ts";
import { openvinoEngine, openvinoStatus } from "../src/node/openvino.ts";
import { ortEngine } from "../src/node/ort-node.ts";
import type { PipelineEvent } from "../src/pipeline/events.ts";
import { type LoadOptions, Pipeline } from "../src/pipeline/pipeline.ts";
import type { RequestInput } from "../src/pipeline/request.ts";
import { host } from "../src/runtime/host.ts";
import type { Engine } from "../src/runtime/session.ts";
import { goldenJson } from "./golden.ts";
import { emojiModel } from "./model-folder.ts";

async function events(request: RequestInput, o: LoadOptions): Promise<PipelineEvent[]> {
  const pipeline = await Pipeline.load(emojiModel, { isOffline: true, ...o });
  const all: PipelineEvent[] = [];
  try {
    for await (const event of pipeline.generate(request)) all.push(event);
  } finally {
    await pipeline.dispose();
  }
  return all;
}

const pictureOf = (all: readonly PipelineEvent[]): Picture => {
  const last = all.findLast(({ type }) => type === "image");
  if (last?.type !== "image") throw new Error("no picture was drawn");
  return last.picture;
};

const { isAvailable, detail } = await openvinoStatus();
if (!isAvailable) process.stderr.write(`Pictures by OpenVINO are skipped: ${detail}\n`);
const hasBfloat16 = isAvailable && (await openvinoEngine()).precisions?.includes("bf16") === true;

interface GoldenPicture {
  readonly file: string;
  readonly prompt: string;
  readonly negative: string | null;
  readonly seed: number;
  readonly steps: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
}
const { requests } = goldenJson("emoji/requests.json") as { requests: readonly GoldenPicture[] };

/** How near a picture by OpenVINO is to diffusers', in dB. */
async function nearness(golden: GoldenPicture, precision: "f32" | "bf16"): Promise<number> {
  const { file, negative, prompt, seed, steps, guidance, width, height } = golden;
  const request = { prompt, seed, steps, guidance, width, height };
  const all = await events(
    { ...request, ...(negative === null ? {} : { negativePrompt: negative }) },
    { engine: "openvino", precision },
  );
  const expected = await readPicture(new URL(`golden/emoji/${file}`, import.meta.url).pathname);
  return psnr(pictureOf(all), expected);
}

describe.skipIf(!isAvailable)("the emoji model on OpenVINO draws what diffusers draws", () => {
  it.each(requests)("$prompt", async (golden) => {
    expect(await nearness(golden, "f32")).toBeGreaterThanOrEqual(45);
  });

  it.skipIf(!hasBfloat16)("in bf16 nearly, and not quite", async () => {
    const golden = requests[0] as GoldenPicture;
    const db = await nearness(golden, "bf16");
    expect(db).toBeGreaterThanOrEqual(30);
    expect(db).toBeLessThan(await nearness(golden, "f32"));
  });
});

describe("a network that overflows in bf16", () => {
  const request = { prompt: "a red apple", seed: 0, steps: 3 };
  const ort = ortEngine();

  /** ONNX Runtime, which in "bf16" loses the results of the networks with an output called so. */
  const overflowing = (output: string): Engine => ({
    ...ort,
    precisions: ["f32", "bf16"],
    async load(model, { precision, ...o }) {
      const session = await ort.load(model, o);
      if (precision !== "bf16" || model.outputs[output] === undefined) return session;
      return {
        ...session,
        async run(feeds, into) {
          const results = await session.run(feeds, into);
          results[output]?.data.fill(Number.NaN as never);
          return results;
        },
      };
    },
  });

  it.each([
    ["unet", "prediction"],
    ["vae", "picture"],
  ])("%s is done again in f32, and the user is told once", async (name, output) => {
    const exact = pictureOf(await events(request, { engine: "ort" }));
    const spy = vi.spyOn(host, "engine").mockResolvedValue(overflowing(output));
    const all = await events({ ...request, count: 2 }, { precision: "bf16" });
    spy.mockRestore();
    expect(all.filter(({ type }) => type === "warning")).toEqual([
      {
        type: "warning",
        message: `${name} gave NaN or infinity in bf16: it is computed in f32 from here on`,
      },
    ]);
    const first = all.find(({ type }) => type === "image");
    expect(first?.type === "image" && Buffer.compare(first.picture.data, exact.data)).toBe(0);
  });

  it("is told of at each later request, whose pictures are in f32 too", async () => {
    const spy = vi.spyOn(host, "engine").mockResolvedValue(overflowing("picture"));
    const pipeline = await Pipeline.load(emojiModel, { precision: "bf16" });
    const warnings: string[] = [];
    for (let i = 0; i < 2; i++)
      for await (const event of pipeline.generate(request))
        if (event.type === "warning") warnings.push(event.message);
    await pipeline.dispose();
    spy.mockRestore();
    expect(warnings).toEqual([
      "vae gave NaN or infinity in bf16: it is computed in f32 from here on",
      "vae has given NaN or infinity in bf16 before: it is computed in f32",
    ]);
  });
});

it("a precision that the engine has not is refused before anything is drawn", async () => {
  await expect(Pipeline.load(emojiModel, { engine: "ort", precision: "bf16" })).rejects.toThrow(
    "precision bf16: expected one that ort computes in here: f32, got bf16 [E_ENGINE]\nbf16 needs OpenVINO and a CPU that has it: koala engines says whether both are here.",
  );
});
