/** Tiny PixArt models that are trained, cut and distilled: whole runs, their folders, and what is refused. */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { drawn } from "../../../../test/drawn.ts";
import { inEmptyFolders, run } from "../../../../test/fake-world.ts";
import { fill } from "../../../../test/fill.ts";
import { goldenJson, goldenTensors } from "../../../../test/golden.ts";
import { readJsonFile, writeFamily, writePixart } from "../../../../test/model-folder.ts";
import type { Picture } from "../../../image/pixels.ts";
import { psnr } from "../../../image/psnr.ts";
import { Pipeline } from "../../../pipeline/pipeline.ts";
import { host } from "../../../runtime/host.ts";
import { float32 } from "../../../tensor/tensor.ts";
import { openSafetensors } from "../../../weights/safetensors.ts";
import { serializeSafetensors } from "../../../weights/safetensors-writer.ts";
import { openFolder } from "../../files.ts";
import type { World } from "../world.ts";

inEmptyFolders();
const world: Partial<World> = { openModel: (location, o) => host.openModel(location, o) };
const koala = (...argv: string[]) => run(argv, { world });

/** Six flat pictures with captions, wider than high. */
async function writeData(folder: string): Promise<void> {
  mkdirSync(folder);
  for (const [i, colour] of ["red", "green", "blue", "black", "orange", "purple"].entries()) {
    const picture = { width: 80, height: 64, channels: 3 as const, background: colour };
    writeFileSync(`${folder}/${i}.png`, await sharp({ create: picture }).png().toBuffer());
    writeFileSync(`${folder}/${i}.txt`, `A ${colour} SQUARE`);
  }
}

const small = ["--data", "data", "--resolution", "64", "--batch", "2", "--threads", "1"];
const flags = [...small, "--steps", "2", "--checkpoint-every", "1", "--sample-every", "0"];
const weights = "transformer/diffusion_pytorch_model.safetensors";
const logOf = (path: string): { terms: Record<string, number> }[] =>
  readFileSync(`${path}/log.jsonl`, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("koala train of a transformer", () => {
  it("trains what the model draws with, goes on bit for bit, and draws samples", {
    timeout: 120_000,
  }, async () => {
    writePixart("model", "alpha");
    await writeData("data");
    const sampling = [
      "--sample-every",
      "2",
      "--sample-count",
      "1",
      "--sample-steps",
      "1",
      "--dtype",
      "float32",
    ];
    const made = await koala("train", "--model", "model", "--out", "a", ...flags, ...sampling);
    expect([made.code, made.out]).toEqual([0, "a/model\n"]);
    expect(readdirSync("a/samples")).toEqual(["step-00000000.png", "step-00000002.png"]);
    expect(readdirSync("a/model").sort()).toEqual(readdirSync("model").sort());
    expect((await koala("runs", "a")).out).toMatch(/^a: transformer, 2 of 2 steps, /);
    // of the last layer only the rows of the noise learn; those of the learned sigma do no more than decay
    const [own, old] = [await biasOf("a/model"), await biasOf("model")];
    const moved = Array.from(own, (x, i) => Math.abs(x / (old[i] ?? 0) - 1));
    const of = (isNoise: boolean) => moved.filter((_, i) => i % 8 < 4 === isNoise);
    expect(own.length).toBe(4 * 8); // a patch's cells, of 8 channels
    expect(Math.max(...of(false))).toBeLessThan(1e-5);
    expect(Math.min(...of(true))).toBeGreaterThan(1e-4);

    const model = readFileSync(`a/model/${weights}`);
    rmSync("a/checkpoints/step-00000002.safetensors");
    rmSync("a/model", { recursive: true });
    expect((await koala("resume", "a")).err).toContain("goes on after step 1\n");
    expect(readFileSync(`a/model/${weights}`).equals(model)).toBe(true);
  });

  it("begins with random weights, also of another shape, and refuses what does not fit", {
    timeout: 120_000,
  }, async () => {
    writePixart("model", "sigma");
    await writeData("data");
    const json = readJsonFile("model/transformer/config.json");
    writeFileSync("deep.json", JSON.stringify({ ...json, num_layers: 5, out_channels: 4 }));
    const made = await koala(
      "train",
      "--model",
      "model",
      "--transformer",
      "deep.json",
      "--out",
      "a",
      ...flags,
    );
    expect([made.code, made.out]).toEqual([0, "a/model\n"]);
    expect(readJsonFile("a/model/transformer/config.json")).toEqual({
      ...json,
      num_layers: 5,
      out_channels: 4,
    });
    const fresh = await koala("train", "--model", "model", "--fresh", "--out", "b", ...flags);
    expect(fresh.code).toBe(0);
    expect(fresh.err).toContain("begins with random weights, not with those of model\n");

    const failing = async (...argv: string[]): Promise<string> => {
      const { code, err } = await koala("train", "--out", "c", ...flags, ...argv);
      expect([code, existsSync("c/run.json")]).toEqual([2, false]);
      return err;
    };
    writeFileSync("wide.json", JSON.stringify({ ...json, caption_channels: 40 }));
    expect(await failing("--model", "model", "--transformer", "wide.json")).toContain(
      "wide.json: expected a transformer for the model's other parts: 4 channels, 32 of text, not told sizes, got 4 channels, 40 of text, not told sizes [E_CONFIG]\n",
    );
    expect(await failing("--model", "model", "--part", "unet")).toContain(
      "model: expected a model with a U-Net, got one with a transformer [E_MODEL]\nkoala train --part transformer trains it.\n",
    );
    expect(await failing("--model", "model", "--resolution", "72")).toContain(
      "resolution: expected a multiple of 16 px, the size of this model's patch, got 72 [E_CONFIG]\n",
    );
    writeFamily("unet", "koala-1b");
    expect(await failing("--model", "unet", "--part", "transformer")).toContain(
      "unet: expected a model with a transformer, got one with a U-Net [E_MODEL]\nkoala train --part unet trains it.\n",
    );
  });
});

describe("koala train --lora of a transformer", () => {
  const loraFile = "a/model/pytorch_lora_weights.safetensors";

  it("leaves additions by diffusers' names that draw on the base what is drawn with them merged in", {
    timeout: 120_000,
  }, async () => {
    writePixart("model", "alpha");
    await writeData("data");
    const learning = ["--lora", "2", "--rate", "0.02", "--ema", "0", "--dtype", "float32"];
    const made = await koala("train", "--model", "model", "--out", "a", ...flags, ...learning);
    expect([made.code, made.out]).toEqual([0, "a/model\n"]);
    expect(made.err).toMatch(/ of weights that stay; /);

    const lora = await openSafetensors(await openFolder("a/model"), "pytorch_lora_weights.safetensors");
    const layers = readJsonFile("model/transformer/config.json").num_layers as number;
    const projections = ["attn1", "attn2"].flatMap((attention) =>
      ["to_q", "to_k", "to_v", "to_out.0"].map((name) => `${attention}.${name}`),
    );
    const modules = Array.from({ length: layers }, (_, i) =>
      projections.map((name) => `transformer.transformer_blocks.${i}.${name}`),
    ).flat();
    expect([...lora.tensors.keys()].sort()).toEqual(
      modules.flatMap((module) => [`${module}.lora_A.weight`, `${module}.lora_B.weight`]).sort(),
    );
    const base = await openSafetensors(await openFolder("model"), weights);
    const merged = await openSafetensors(await openFolder("a/model"), weights);
    expect([...merged.tensors.keys()].sort()).toEqual([...base.tensors.keys()].sort());

    const draw = async (folder: string, weight: number | null): Promise<Picture> => {
      const loras = weight === null ? [] : [{ location: loraFile, weight }];
      const pipeline = await Pipeline.load(folder, { engine: "ort", loras });
      const request = { prompt: "A RED SQUARE", steps: 2, width: 64, height: 64, seed: 3, guidance: 1 };
      const [picture] = await drawn(pipeline, request);
      await pipeline.dispose();
      return picture as Picture;
    };
    const own = await draw("a/model", null);
    expect(psnr(own, await draw("model", 1))).toBeGreaterThan(60);
    expect(psnr(own, await draw("model", null))).toBeLessThan(40);
    expect(psnr(await draw("model", 0), await draw("model", null))).toBe(Number.POSITIVE_INFINITY);
  });

  it("and of a U-Net are told apart", { timeout: 120_000 }, async () => {
    writePixart("model", "alpha");
    await writeData("data");
    writeFileSync(
      "unet.safetensors",
      serializeSafetensors({
        "unet.mid_block.attentions.0.proj_in.lora_A.weight": float32([1, 4], [1, 2, 3, 4]),
        "unet.mid_block.attentions.0.proj_in.lora_B.weight": float32([4, 1], [1, 2, 3, 4]),
      }),
    );
    await expect(
      Pipeline.load("model", { engine: "ort", loras: [{ location: "unet.safetensors", weight: 1 }] }),
    ).rejects.toThrow(
      "unet.safetensors: expected a LoRA of this model or of its teacher, got one whose layers it has no place for: unet (1) [E_WEIGHTS]",
    );
    const none = ["--lora", "2", "--lora-targets", "resnet"];
    expect((await koala("train", "--model", "model", "--out", "a", ...flags, ...none)).err).toContain(
      "loraTargets: expected layers that this transformer has, got resnet, of which it has none [E_CONFIG]\n",
    );
  });
});

describe("koala distill --method of a transformer", () => {
  const picturesOf = async (folder: string): Promise<Picture[]> => {
    const pipeline = await Pipeline.load(folder, { engine: "ort" });
    const pictures = await drawn(pipeline, { prompt: "A RED SQUARE", width: 64, height: 64 });
    await pipeline.dispose();
    return pictures;
  };

  it("teaches it to draw in few steps, on all weights or as a LoRA", { timeout: 120_000 }, async () => {
    writePixart("teacher", "alpha");
    await writeData("data");
    const few = (...argv: string[]) =>
      koala("distill", "--teacher", "teacher", ...flags, "--phases", "2", ...argv);
    const lcm = await few("--method", "lcm", "--lora", "2", "--out", "a");
    expect([lcm.code, lcm.out]).toEqual([0, "a/model\n"]);
    expect(Object.keys(logOf("a")[0]?.terms ?? {})).toEqual(["consistency"]);
    const lora = await openSafetensors(await openFolder("a/model"), "pytorch_lora_weights.safetensors");
    const [name] = [...lora.tensors.keys()].sort();
    expect(name).toBe("transformer.transformer_blocks.0.attn1.to_k.lora_A.weight");
    expect(readJsonFile("a/model/model_index.json")).toMatchObject({
      _class_name: "PixArtAlphaPipeline",
      scheduler: ["diffusers", "LCMScheduler"],
      _koala: { steps: 2, guidance: 1 },
    });
    expect(await picturesOf("a/model")).toHaveLength(1);

    const pcm = await few("--method", "pcm", "--student", "pixart-2", "--rate", "0.001", "--out", "b");
    expect([pcm.code, pcm.out]).toEqual([0, "b/model\n"]);
    expect(readJsonFile("b/model/transformer/config.json").num_layers).toBe(2);
    expect(await picturesOf("b/model")).toHaveLength(1);

    const judged = await few("--method", "pcm", "--adversarial-weight", "0.1", "--out", "c");
    expect(judged.err).toContain(
      "adversarialWeight: expected 0 with a transformer, since the adversary looks at features of a U-Net, got 0.1 [E_CONFIG]\n",
    );
    const told = await few("--method", "lcm", "--guidance-input", "--out", "c");
    expect(told.err).toContain(
      "guidanceInput: expected lcm on whole weights, whose U-Net gets a layer for the guidance, got a transformer [E_CONFIG]\n",
    );
    expect(existsSync("c/run.json")).toBe(false);
  });
});

async function biasOf(folder: string): Promise<Float32Array> {
  const store = await openSafetensors(await openFolder(folder), weights);
  const { data } = await store.read("proj_out.bias");
  return Float32Array.from(data as Float32Array);
}

describe("koala cut and distill of a transformer", () => {
  it("make a student of some blocks, and teach it", { timeout: 120_000 }, async () => {
    writePixart("teacher", "sigma");
    await writeData("data");
    const cut = await koala(
      "cut",
      "student",
      "--teacher",
      "teacher",
      "--student",
      "pixart-2",
      "--keep",
      "last",
      "--quiet",
    );
    expect([cut.code, cut.err]).toEqual([0, ""]);
    const lines = cut.out.split("\n").map((line) => line.replace(/ +/g, " "));
    expect(lines).toContain("transformer_blocks.1 transformer_blocks.2 37,776");
    expect(lines.at(-2)).toMatch(
      /^student: pixart-2 cut from teacher, [\d,]+ of [\d,]+ parameters, [\d.]+ [kM]B in float32$/,
    );
    const json = readJsonFile("teacher/transformer/config.json");
    expect(readJsonFile("student/transformer/config.json")).toMatchObject({ ...json, num_layers: 2 });
    const name = "transformer_blocks.0.attn1.to_q.weight";
    const { shape, data } = await (await openSafetensors(await openFolder("student"), weights)).read(name);
    expect(data).toEqual(fill("transformer_blocks.1.attn1.to_q.weight", shape));

    const features = ["--features", "SA,LF:TX-2"];
    const teaching = ["distill", "--teacher", "teacher", ...flags, ...features];
    const made = await koala(...teaching, "--student", "student", "--out", "a");
    expect([made.code, made.out]).toEqual([0, "a/model\n"]);
    expect(Object.keys(logOf("a")[0]?.terms ?? {})).toEqual([
      ...["task", "output", "feature", "feature SA TX-1", "feature SA TX-2", "feature LF TX-2"],
    ]);
    expect(readJsonFile("a/model/transformer/koala_cut.json")).toMatchObject({
      rule: "pixart-2",
      plan: { blocks: [1, 2] },
    });

    const ruled = await koala(
      ...teaching,
      "--student",
      "pixart-1",
      "--map",
      "one-to-many",
      "--out",
      "b",
      "--features",
      "SA",
    );
    expect([ruled.code, ruled.out]).toEqual([0, "b/model\n"]);
    const other = await koala(...teaching, "--student", "koala-1b", "--out", "c");
    expect(other.err).toContain(
      "koala-1b: expected a teacher with a U-Net, got a teacher with a transformer [E_MODEL]\n",
    );
  });

  const { pictures } = goldenJson("dit/index.json");
  const expected = goldenTensors("dit/pictures.safetensors");
  it.each(
    Object.keys(pictures),
  )("%s: the student draws what diffusers draws with one cut by hand", async (name) => {
    const { rule, keep, steps, guidance, width, height, seed } = pictures[name];
    writePixart("teacher", name);
    await koala("cut", "student", "--teacher", "teacher", "--student", rule, "--keep", keep);
    const pipeline = await Pipeline.load("student", { isOffline: true });
    const request = { prompt: "a red apple on a table", steps, guidance, width, height, seed };
    const [picture] = await drawn(pipeline, request);
    await pipeline.dispose();
    const data = expected.get(name)?.data as Uint8Array<ArrayBuffer>;
    expect(psnr(picture as Picture, { width, height, data })).toBeGreaterThanOrEqual(45);
  });
});
