/** `koala train --part vae` on tiny autoencoders: whole runs, alone and of a model, and what is refused. */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { inEmptyFolders, run } from "../../../../test/fake-world.ts";
import { writeFamily } from "../../../../test/model-folder.ts";
import { host } from "../../../runtime/host.ts";
import type { TensorStore } from "../../../tensor/stored.ts";
import { openComponent } from "../../../weights/layout.ts";
import type { World } from "../world.ts";

inEmptyFolders();
const world: Partial<World> = { openModel: (location, o) => host.openModel(location, o) };
const koala = (...argv: string[]) => run(argv, { world });

/** Pictures without captions: a square on white, another one each. */
async function writeData(folder: string, colours: readonly string[]): Promise<void> {
  mkdirSync(folder);
  for (const [i, background] of colours.entries()) {
    const square = await sharp({ create: { width: 30, height: 30, channels: 3, background } })
      .png()
      .toBuffer();
    const white = sharp({ create: { width: 64, height: 64, channels: 3, background: "white" } });
    const picture = white.composite([{ input: square, left: 5 * i, top: 3 * i }]);
    writeFileSync(`${folder}/${i}.png`, await picture.png().toBuffer());
  }
}

const tiny = {
  ...{
    _class_name: "AutoencoderKL",
    in_channels: 3,
    out_channels: 3,
    latent_channels: 4,
    layers_per_block: 1,
  },
  ...{
    down_block_types: Array(2).fill("DownEncoderBlock2D"),
    up_block_types: Array(2).fill("UpDecoderBlock2D"),
  },
  ...{ block_out_channels: [4, 8], norm_num_groups: 2, mid_block_add_attention: false, sample_size: 64 },
};
const flags = ["--part", "vae", "--data", "data", "--batch", "2", "--threads", "1", "--rate", "0.01"];
const logOf = (path: string) =>
  readFileSync(`${path}/log.jsonl`, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const weightsFile = "diffusion_pytorch_model.safetensors";

async function begin(): Promise<void> {
  await writeData("data", ["red", "green", "blue", "orange"]);
  await writeData("held", ["purple", "teal"]);
  writeFileSync("vae.json", JSON.stringify(tiny));
}

describe("koala train --part vae", () => {
  it("makes a VAE that goes on bit for bit, and is the model of the next run", {
    timeout: 120_000,
  }, async () => {
    await begin();
    const own = [
      "--vae",
      "vae.json",
      "--held-out",
      "held",
      "--patch",
      "32",
      "--flips",
      "--sample-count",
      "2",
    ];
    const every = ["--steps", "4", "--checkpoint-every", "2", "--sample-every", "2"];
    const made = await koala("train", ...flags, ...own, ...every, "--out", "a");
    expect(made.err).toMatch(/4 pictures of 64 px on average\n/);
    expect(made.err).toMatch(/after step 4: psnr of held-out [\d.]+, psnr of learned [\d.]+\n/);
    expect([made.code, made.out]).toEqual([0, "a/model\n"]);
    const log = logOf("a");
    expect(Object.keys(log[0].terms)).toEqual(["l1", "l2", "edges", "kl", "psnr"]);
    const lines = log.map(({ step, measures = {} }) => `${step}: ${Object.keys(measures).length}`);
    expect(lines).toEqual(["1: 0", "2: 0", "2: 2", "3: 0", "4: 0", "4: 2"]);
    // two originals, each with its reconstruction
    expect(await sharp("a/samples/step-00000004.png").metadata()).toMatchObject({ width: 256, height: 64 });
    expect(readdirSync("a/model").sort()).toEqual(["config.json", weightsFile]);
    const config = JSON.parse(readFileSync("a/model/config.json", "utf8"));
    expect(config).toEqual({ ...tiny, scaling_factor: config.scaling_factor });
    expect(config.scaling_factor).toBeGreaterThan(0);
    expect((await koala("inspect", "a/model")).out).toMatch(/AutoencoderKL/);
    expect((await koala("runs", "a")).out).toMatch(/psnr of held-out: /);

    const end = readFileSync("a/checkpoints/step-00000004.safetensors");
    const result = readFileSync(`a/model/${weightsFile}`);
    rmSync("a/checkpoints/step-00000004.safetensors");
    rmSync("a/model", { recursive: true });
    const resumed = await koala("resume", "a");
    expect(resumed.err).toContain("goes on after step 2\n");
    expect(readFileSync("a/checkpoints/step-00000004.safetensors").equals(end)).toBe(true);
    expect(readFileSync(`a/model/${weightsFile}`).equals(result)).toBe(true);

    const next = await koala(
      "train",
      ...flags,
      "--model",
      "a/model",
      "--steps",
      "1",
      "--sample-every",
      "0",
      "--out",
      "b",
    );
    expect([next.code, next.out]).toEqual([0, "b/model\n"]);
    // latents that somebody may use already keep their scale
    expect(JSON.parse(readFileSync("b/model/config.json", "utf8"))).toEqual(config);
  });

  it("trains a model's decoder, and leaves all else as it is", { timeout: 120_000 }, async () => {
    await begin();
    writeFamily("model", "koala-1b");
    const few = ["--steps", "1", "--sample-every", "0", "--dtype", "float32", "--decoder-only"];
    const made = await koala("train", ...flags, "--model", "model", ...few, "--out", "a");
    expect([made.code, made.out]).toEqual([0, "a/model\n"]);
    const names = readdirSync("model").filter((name) => name !== "expected.safetensors");
    expect(readdirSync("a/model").sort()).toEqual(names.sort());
    const storeOf = async (folder: string): Promise<TensorStore> =>
      (await openComponent(await host.openModel(folder), "vae")).store;
    const [old, now] = [await storeOf("model"), await storeOf("a/model")];
    expect([...now.tensors.keys()].sort()).toEqual([...old.tensors.keys()].sort());
    for (const [name, isTrained] of [
      ["encoder.conv_in.weight", false],
      ["quant_conv.bias", false],
      ["post_quant_conv.bias", true],
      ["decoder.conv_out.bias", true],
    ] as const) {
      const [before, after] = [await old.read(name), await now.read(name)];
      if (isTrained) expect(after.data, name).not.toEqual(before.data);
      else expect(after.data, name).toEqual(before.data);
    }
  });

  it("tells a mistake before it makes a folder", { timeout: 120_000 }, async () => {
    await begin();
    writeFamily("model", "koala-1b");
    writeFileSync("sizeless.json", JSON.stringify({ ...tiny, sample_size: undefined }));
    const failing = async (...argv: string[]): Promise<string> => {
      const { code, err } = await koala("train", ...flags, ...argv, "--out", "a");
      expect(code).toBe(2);
      expect(existsSync("a/run.json")).toBe(false);
      return err;
    };
    expect(await failing()).toBe(
      "model: expected a model to begin with, or vae: the config.json of a new one, got neither [E_CONFIG]\n",
    );
    expect(await failing("--vae", "sizeless.json")).toBe(
      "resolution: expected the side of the pictures in px, since the VAE's config.json has no sample_size, got nothing [E_CONFIG]\n",
    );
    expect(await failing("--vae", "vae.json", "--resolution", "33")).toBe(
      "resolution: expected a multiple of 2 px, the size of this model's latent cell, got 33 [E_CONFIG]\n",
    );
    expect(await failing("--vae", "vae.json", "--patch", "33")).toBe(
      "patch: expected a multiple of 2 px, the size of this model's latent cell, got 33 [E_CONFIG]\n",
    );
    expect(await failing("--vae", "vae.json", "--patch", "72")).toBe(
      "patch: expected at most the resolution, 64 px, got 72 [E_CONFIG]\n",
    );
    expect(await failing("--vae", "vae.json", "--decoder-only")).toBe(
      "decoderOnly: expected an encoder that has learned, to be left as it is, got random weights [E_CONFIG]\n",
    );
    expect(await failing("--model", "model", "--decoder-only", "--latents", "measure")).toBe(
      "latents: expected keep where only the decoder is trained, got measure [E_CONFIG]\n",
    );
    expect(await failing("--model", "model", "--vae", "vae.json")).toBe(
      "vae.json: expected a VAE for the model's other parts: 4 channels of latents, cells of 8 px, got 4 channels of latents, cells of 2 px [E_CONFIG]\nWithout model the VAE is trained alone.\n",
    );
    expect(await failing("--vae", "vae.json", "--held-out", "data")).toContain(
      "held-out pictures: expected pictures that are not learned, got 4 that are in the data too, such as 0.png [E_CONFIG]\n",
    );
    expect(await failing("--vae", "vae.json", "--group", "subjct")).toContain(
      "group: expected a field that names the groups of pictures to balance by, got subjct, which no picture's record has [E_CONFIG]\n",
    );
    expect(await failing("--vae", "vae.json", "--min-snr", "5")).toContain(
      "expected a field of a run of kind vae, got an unknown name [E_CONFIG]\n",
    );
  });
});
