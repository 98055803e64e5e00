/** `koala quantize` on small models: the folder, its pictures, the sentences. */

import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { drawn } from "../../../../test/drawn.ts";
import { inEmptyFolders, type Ran, run } from "../../../../test/fake-world.ts";
import { writeFamily, writePixart } from "../../../../test/model-folder.ts";
import type { Picture } from "../../../image/pixels.ts";
import { psnr } from "../../../image/psnr.ts";
import { Pipeline } from "../../../pipeline/pipeline.ts";
import { openSafetensors } from "../../../weights/safetensors.ts";
import { openFolder } from "../../files.ts";
import { openModel } from "../../open-model.ts";

inEmptyFolders();

const real = {
  openModel: (location: string) => openModel(location),
  load: (location: string, o: object) => Pipeline.load(location, o),
};
const quantize = (argv: readonly string[]): Promise<Ran> =>
  run(["quantize", ...argv, "--quiet"], { world: real });

const small = ["--calibrate", "prompts.txt", "--steps", "2", "--size", "64x64"];
const writePrompts = (): void => writeFileSync("prompts.txt", "a red apple\n\n a green pear \n");

async function picture(model: string, seed = 1): Promise<Picture> {
  const pipeline = await Pipeline.load(model, { engine: "ort" });
  try {
    const request = { prompt: "a red apple", seed, steps: 2, width: 64, height: 64 };
    const [picture] = await drawn(pipeline, request);
    return picture as Picture;
  } finally {
    await pipeline.dispose();
  }
}

const made = async (format: "int8" | "int4", ...more: string[]): Promise<Ran> => {
  writeFamily("model", "koala-700m");
  writePrompts();
  return quantize(["model", "made", "--to", format, ...small, ...more]);
};

const report = (): Record<string, never> =>
  JSON.parse(readFileSync("made/koala_quantization.json", "utf8")) as Record<string, never>;

/** Element type of a weight inside the blocks. */
async function storedType(): Promise<string | undefined> {
  const files = await openFolder("made");
  const store = await openSafetensors(files, "unet/diffusion_pytorch_model.safetensors");
  const weight = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight";
  expect(store.tensors.has(`${weight}_scale`)).toBe(true);
  return store.tensors.get(weight)?.dtype;
}

/** How much nearer, in dB, `model` is to the picture of the float model than that one's next is. */
async function gain(model: string, floats: readonly [own: Picture, next: Picture]): Promise<number> {
  const [own, next] = floats;
  return psnr(await picture(model), own) - psnr(next, own);
}

/** A minute and more where other work takes the processor. */
const PATIENCE_MS = 300_000;

// The model is untrained and carries every rounding on; the trained one is held to 25 dB in the slow suite.
describe("koala quantize", () => {
  it(
    "makes an int8 folder that stands alone and draws the same picture",
    async () => {
      const { code, out, err } = await made("int8");
      expect([code, err]).toEqual([0, ""]);
      expect(readdirSync(".").sort()).toEqual(["made", "model", "prompts.txt"]);
      expect(readdirSync("made/unet").sort()).toEqual([
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "koala_quantization.json",
      ]);
      expect(out).toMatch(/^network +before +int8\nunet /);
      expect(out).toMatch(/% of a step's arithmetic in integers\n/);
      expect(out).toMatch(/\nmade: [\d.]+ [kM]B of [\d.]+ [kM]B, in [^\n]+\n$/);
      expect(report()).toMatchObject({ format: "int8", calibration: { prompts: 2, steps: 4, measured: 4 } });
      expect(report().keptOut).toContainEqual({
        weight: "conv_in.weight",
        reason: "the first or last layer, where every error shows",
      });
      expect(await storedType()).toBe("int8");
      const floats = [await picture("model"), await picture("model", 2)] as const;
      rmSync("model", { recursive: true });
      expect(await gain("made", floats)).toBeGreaterThan(5);
    },
    PATIENCE_MS,
  );

  it(
    "makes an int4 folder of an eighth of the bytes, and prints its report as JSON",
    async () => {
      const { code, out } = await made("int4", "--json");
      expect(code).toBe(0);
      expect(JSON.parse(out)).toEqual({ folder: "made", ...report() });
      expect(report()).toMatchObject({ format: "int4", integerShare: 0 });
      expect(await storedType()).toBe("uint8");
      expect(await gain("made", [await picture("model"), await picture("model", 2)])).toBeGreaterThan(5);
    },
    PATIENCE_MS,
  );
});

it(
  "a PixArt becomes a folder whose transformer and T5 hold integers, and that draws the same",
  async () => {
    writePixart("model", "sigma");
    writeFileSync("prompts.txt", "a red apple\n");
    const flags = ["--to", "int8", "--calibrate", "prompts.txt", "--size", "64x64", "--steps", "2"];
    const { code, out } = await quantize(["model", "made", ...flags]);
    expect(code).toBe(0);
    expect(out).toMatch(/^network +before +int8\ntransformer .+\ntext_encoder .+\nvae /);
    const t5 = await openSafetensors(await openFolder("made"), "text_encoder/model.safetensors");
    const kinds = [...t5.tensors.values()].map(({ dtype }) => dtype);
    expect(kinds.filter((dtype) => dtype === "uint8" || dtype === "int8").length).toBeGreaterThan(20);
    const drawn: Picture[] = [];
    // the third time with the text encoder block by block, as T5-XXL runs
    for (const [folder, o] of [
      ["model", {}],
      ["made", {}],
      ["made", { residentBytes: 0 }],
    ] as const) {
      const pipeline = await Pipeline.load(folder, { isOffline: true, ...o });
      const request = { prompt: "a red apple", steps: 2, width: 64, height: 64, seed: 1 };
      for await (const event of pipeline.generate(request))
        if (event.type === "image") drawn.push(event.picture);
      await pipeline.dispose();
    }
    expect(psnr(drawn[0] as Picture, drawn[1] as Picture)).toBeGreaterThan(20);
    expect(psnr(drawn[1] as Picture, drawn[2] as Picture)).toBeGreaterThan(50);
  },
  PATIENCE_MS,
);

describe("what cannot be quantized", () => {
  it.each([
    [["--to", "int7"], '--to: expected one of int8, int4, got "int7" [E_FLAG]'],
    [[], "--to: expected one of int8, int4, got nothing [E_FLAG]"],
    [
      ["--to", "int8", "--calibrate", "empty.txt"],
      "--calibrate empty.txt: expected at least one prompt, one a line, got none [E_FLAG]",
    ],
    [
      ["--to", "int8", "--calibrate", "nowhere.txt"],
      "--calibrate: expected a text file of prompts, one a line, got nowhere.txt [E_FLAG]\nThere is no such file, or it may not be read.",
    ],
  ])("%j", async (flags, sentence) => {
    writeFileSync("empty.txt", "\n  \n");
    const { code, err } = await quantize(["model", "made", ...flags]);
    expect([code, err]).toEqual([2, `${sentence}\n`]);
  });

  it("a part of a model", async () => {
    writeFamily("model", "koala-700m");
    const { code, err } = await quantize(["model/unet", "made", "--to", "int8"]);
    expect([code, err]).toEqual([
      2,
      "model/unet: expected a pipeline's folder, with a model_index.json, got none [E_MODEL]\n",
    ]);
    expect(readdirSync(".")).not.toContain("made");
  });
});

describe("a quantized folder is refused", () => {
  it(
    "by what needs floats, when its source has changed, when a file is gone or cut short",
    async () => {
      await made("int4");
      const cwd = process.cwd();
      const weights = "unet/diffusion_pytorch_model.safetensors";

      const again = await quantize(["made", "more", "--to", "int8", ...small]);
      expect([again.code, again.err]).toEqual([
        2,
        "made: expected a model in floats, got one that is quantized already [E_MODEL]\nTake the model that it was quantized from.\n",
      ]);
      const cut = await run(["cut", "student", "--teacher", "made", "--student", "koala-700m", "--quiet"], {
        world: real,
      });
      expect([cut.code, cut.err]).toEqual([
        2,
        "made: expected weights in floats, got a quantized model's integers [E_WEIGHTS]\nTake the model that it was quantized from.\n",
      ]);

      const bytes = readFileSync(join("model", weights));
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
      writeFileSync(join("model", weights), bytes);
      await expect(Pipeline.load("made")).rejects.toThrow(
        `made: expected ${cwd}/model as it was when this was quantized from it, got a ${weights} that is another now [E_MODEL]\nQuantize it again: koala quantize.`,
      );
      rmSync("model", { recursive: true });

      truncateSync(join("made", weights), 5000);
      await expect(Pipeline.load("made")).rejects.toThrow(
        /^made\/unet\/diffusion_pytorch_model.safetensors: expected the \d+ bytes that koala quantize wrote, got 5000 bytes \[E_MODEL\]\nThe folder is not whole: copy it again, or quantize the model again.$/,
      );
      rmSync(join("made", weights));
      await expect(Pipeline.load("made")).rejects.toThrow(
        /^made\/unet\/diffusion_pytorch_model.safetensors: expected the \d+ bytes that koala quantize wrote, got no such file \[E_MODEL\]/,
      );
    },
    PATIENCE_MS,
  );
});
