/** Low-rank adapters of every kind of file against diffusers and PEFT, and on models that they were not made for. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { psnr } from "../src/image/psnr.ts";
import type { Picture } from "../src/index.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import type { PrecisionName } from "../src/pipeline/request.ts";
import { float32, type Tensor } from "../src/tensor/tensor.ts";
import { loraContent, matchLora } from "../src/weights/lora.ts";
import { serializeSafetensors } from "../src/weights/safetensors-writer.ts";
import { fill } from "./fill.ts";
import { goldenJson, goldenTensors } from "./golden.ts";
import { writeFamily } from "./model-folder.ts";

interface GoldenFile {
  readonly family: string;
  readonly request: { readonly [key: string]: number | string | null };
  readonly tensors: Readonly<Record<string, readonly number[]>>;
}

const golden = goldenJson("lora.json") as {
  readonly alpha: number;
  readonly weight: number;
  readonly files: Readonly<Record<string, GoldenFile>>;
};
const expected = goldenTensors("lora.safetensors");

let work = "";
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "koala-lora-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** The matrices that the oracle filled by the names of diffusers' file; kohya's hold the same under other names. */
const peft: Readonly<Record<string, string>> = { "sd15-kohya": "sd15-peft", "sdxl-kohya": "sdxl-peft" };

function tensorsOf(name: string): Record<string, Tensor> {
  const own = Object.entries(golden.files[name]?.tensors ?? {});
  const original = peft[name];
  if (original === undefined)
    return Object.fromEntries(own.map(([key, shape]) => [key, float32(shape, fill(key, shape))]));
  const layers = (file: string, names: readonly string[]) =>
    new Map(
      loraContent(
        { tensors: new Map(names.map((key) => [key, null as never])), read: () => Promise.reject() },
        file,
      )
        .layers.filter(({ part }) => part === "unet")
        .map((layer) => [layer.module.replaceAll(".", "_"), layer]),
    );
  const theirs = layers("peft", Object.keys(golden.files[original]?.tensors ?? {}));
  const ours = layers(
    "kohya",
    own.map(([key]) => key),
  );
  const made: Record<string, Tensor> = {};
  const shapes = new Map(own);
  for (const [module, { down, up, alpha }] of ours) {
    const twin = theirs.get(module);
    if (twin === undefined) throw new Error(`${module} is in no file of diffusers`);
    made[down] = float32(shapes.get(down) ?? [], fill(twin.down, shapes.get(down) ?? []));
    made[up] = float32(shapes.get(up) ?? [], fill(twin.up, shapes.get(up) ?? []));
    if (alpha !== null) made[alpha] = float32([], Float32Array.of(golden.alpha));
  }
  return made;
}

function writeLora(name: string, tensors: Record<string, Tensor>): string {
  const path = join(work, `${name}.safetensors`);
  writeFileSync(path, serializeSafetensors(tensors));
  return path;
}

async function draw(
  folder: string,
  request: GoldenFile["request"],
  lora: string | null,
  weight = golden.weight,
  precision: PrecisionName = "f32",
): Promise<{ picture: Picture; warnings: string[] }> {
  const warnings: string[] = [];
  const pipeline = await Pipeline.load(folder, {
    engine: "ort",
    precision,
    loras: lora === null ? [] : [{ location: lora, weight }],
    log: { warn: (message) => warnings.push(message), debug() {} },
  });
  const { prompt, steps, guidance, width, height, seed } = request as Record<string, number>;
  try {
    for await (const event of pipeline.generate({
      prompt: String(prompt),
      steps,
      guidance,
      width,
      height,
      seed,
    }))
      if (event.type === "image") return { picture: event.picture, warnings };
  } finally {
    await pipeline.dispose();
  }
  throw new Error("no picture");
}

describe("a LoRA", () => {
  it.each(Object.keys(golden.files))("%s makes diffusers' picture", async (name) => {
    const { family, request } = golden.files[name] as GoldenFile;
    const folder = writeFamily(join(work, name), family);
    const { picture, warnings } = await draw(folder, request, writeLora(name, tensorsOf(name)));
    const data = expected.get(name)?.data as Uint8Array<ArrayBuffer>;
    expect(warnings).toEqual([]);
    expect(psnr(picture, { ...picture, data })).toBeGreaterThan(45);
  });

  it("is in weights that are packed as they are loaded", async () => {
    const { family, request } = golden.files["sd15-peft"] as GoldenFile;
    const folder = writeFamily(join(work, "packed"), family);
    const lora = writeLora("packed", tensorsOf("sd15-peft"));
    const weight = golden.weight / 2;
    const exact = await draw(folder, request, lora, weight);
    const packed = await draw(folder, request, lora, weight, "int8");
    expect(psnr(packed.picture, exact.picture)).toBeGreaterThan(38); // without the LoRA it is 17
  });

  it("in the weight 0 changes nothing", async () => {
    const { family, request } = golden.files["sd15-peft"] as GoldenFile;
    const folder = writeFamily(join(work, "zero"), family);
    const lora = writeLora("zero", tensorsOf("sd15-peft"));
    const [bare, zero] = [await draw(folder, request, null), await draw(folder, request, lora, 0)];
    expect(psnr(zero.picture, bare.picture)).toBeGreaterThan(60);
  });

  it("of a teacher is read by its student: what was cut away is told by block", async () => {
    const { request } = golden.files["sdxl-kohya"] as GoldenFile;
    const folder = writeFamily(join(work, "student"), "koala-700m");
    const { warnings } = await draw(folder, request, writeLora("teacher", tensorsOf("sdxl-kohya")));
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      /teacher\.safetensors: \d+ layers are used; the model has no place for \d+: .*(down_blocks\.0\.resnets\.1|mid_block\.attentions\.0) \(\d+\)/,
    );
  });

  it("keeps a student's first and last layer of a block on the way up", () => {
    const layer = (block: string) => ({
      ...{
        part: "unet" as const,
        module: `${block}.to_q`,
        down: `${block} down`,
        up: `${block} up`,
        alpha: null,
      },
    });
    const match = matchLora(
      [0, 1, 2].map((i) => layer(`up_blocks.0.attentions.${i}`)),
      ["up_blocks.0.attentions.0.to_q.weight", "up_blocks.0.attentions.1.to_q.weight"],
    );
    expect([...match.layers].map(([name, { down }]) => [name, down])).toEqual([
      ["up_blocks.0.attentions.0.to_q.weight", "up_blocks.0.attentions.0 down"],
      ["up_blocks.0.attentions.1.to_q.weight", "up_blocks.0.attentions.2 down"],
    ]);
    expect(match.blocks).toContainEqual({ block: "up_blocks.0.attentions.1", used: 0, dropped: 1 });
  });
});

describe("is refused", () => {
  const matrix = float32([1, 1], Float32Array.of(1));
  const failure = async (tensors: Record<string, Tensor>): Promise<string> => {
    const folder = writeFamily(join(work, "refusing"), "sd15");
    const path = writeLora("refused", tensors);
    const pipeline = Pipeline.load(folder, { engine: "ort", loras: [{ location: path, weight: 1 }] });
    return pipeline.then(
      () => "no error",
      (error: Error) => error.message.replaceAll(path, "FILE"),
    );
  };

  it.each([
    [
      "a DoRA",
      { "unet.a.lora_A.weight": matrix, "unet.a.dora_scale": matrix },
      "FILE: expected a LoRA (pairs of lora_A and lora_B, or lora_down and lora_up), got DoRA: unet.a.dora_scale [E_WEIGHTS]",
    ],
    [
      "half a pair",
      { "unet.a.lora_A.weight": matrix },
      "FILE: unet.a: expected both matrices of the layer, got only the lower one [E_WEIGHTS]",
    ],
    [
      "a checkpoint",
      { "model.weight": matrix },
      "FILE: expected a LoRA of a U-Net, a transformer or text encoders, got other tensors, such as model.weight [E_WEIGHTS]",
    ],
    [
      "another model's",
      {
        "unet.up_blocks.7.attentions.0.lora_A.weight": matrix,
        "unet.up_blocks.7.attentions.0.lora_B.weight": matrix,
      },
      "FILE: expected a LoRA of this model or of its teacher, got one whose layers it has no place for: up_blocks.7.attentions.0 (1) [E_WEIGHTS]",
    ],
  ])("%s", async (_, tensors, sentence) => {
    expect(await failure(tensors as Record<string, Tensor>)).toBe(sentence);
  });

  it("an adapter of another size, where the weight is", async () => {
    const { request } = golden.files["sd15-peft"] as GoldenFile;
    const folder = writeFamily(join(work, "misfit"), "sd15");
    const name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
    const path = writeLora("misfit", {
      [`${name}.lora_A.weight`]: matrix,
      [`${name}.lora_B.weight`]: matrix,
    });
    const message = await draw(folder, request, path).then(
      () => "no error",
      (error: Error) => error.message,
    );
    expect(message).toMatch(
      /^down_blocks\.0\.attentions\.0\.transformer_blocks\.0\.attn1\.to_q\.weight: expected an adapter of a weight \[\d+, \d+\], got down \[1, 1\], up \[1, 1\] \[E_SHAPE\]$/,
    );
  });
});
