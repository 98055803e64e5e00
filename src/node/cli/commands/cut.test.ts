/** `koala cut` on small teachers: the folder, the map, the pictures, the sentences. */

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { inEmptyFolders, type Ran, run, type Scene } from "../../../../test/fake-world.ts";
import { fill } from "../../../../test/fill.ts";
import { goldenJson, goldenTensors } from "../../../../test/golden.ts";
import { writeFamily } from "../../../../test/model-folder.ts";
import type { Picture } from "../../../image/pixels.ts";
import { psnr } from "../../../image/psnr.ts";
import { Pipeline } from "../../../pipeline/pipeline.ts";
import { planFromRecord } from "../../../train/distill/record.ts";
import { openSafetensors } from "../../../weights/safetensors.ts";
import { openFolder } from "../../files.ts";
import { openModel } from "../../open-model.ts";

inEmptyFolders();

const weights = "unet/diffusion_pytorch_model.safetensors";
const cut = (argv: readonly string[], world: Scene["world"] = {}): Promise<Ran> =>
  run(["cut", ...argv, "--quiet"], { world: { openModel: (location) => openModel(location), ...world } });
const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));

describe("koala cut", () => {
  it("makes a folder whose U-Net is the student and whose other parts are the teacher's", async () => {
    writeFamily("teacher", "sdxl");
    const { code, out, err } = await cut(["made", "--teacher", "teacher", "--student", "koala-700m"]);
    expect([code, err]).toEqual([0, ""]);
    expect(readdirSync(".").sort()).toEqual(["made", "teacher"]);
    const parts = readdirSync("teacher").filter((name) => name !== "expected.safetensors"); // no component
    expect(readdirSync("made").sort()).toEqual(parts.sort());
    expect(readdirSync("made/unet").sort()).toEqual([
      "config.json",
      "diffusion_pytorch_model.safetensors",
      "koala_cut.json",
    ]);
    for (const path of ["model_index.json", "text_encoder_2/model.safetensors", "tokenizer/vocab.json"])
      expect(readFileSync(join("made", path)).equals(readFileSync(join("teacher", path))), path).toBe(true);
    expect(json("made/unet/config.json")).toMatchObject({
      _name_or_path: "teacher",
      layers_per_block: 1,
      mid_block_type: null,
      transformer_layers_per_block: [1, 2, 5],
    });
    // weights are shared on disk, not copied
    expect(statSync("made/vae/diffusion_pytorch_model.safetensors").nlink).toBe(2);

    const lines = out.split("\n");
    expect(lines[0]).toMatch(/^student +from the teacher's +its blocks +parameters$/);
    expect(lines.map((line) => line.replace(/ +/g, " "))).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^down_blocks\.2\.attentions\.0 down_blocks\.2\.attentions\.0 0-4 [\d,]+$/),
        expect.stringMatching(/^up_blocks\.0\.resnets\.1 up_blocks\.0\.resnets\.2 [\d,]+$/),
      ]),
    );
    expect(lines.at(-2)).toMatch(
      /^made: koala-700m cut from teacher, [\d,]+ of [\d,]+ parameters, [\d.]+ MB in float32$/,
    );
  });

  it("copies the teacher's weights bit for bit, by the layers that were asked for", async () => {
    writeFamily("teacher", "sdxl");
    const flags = ["--teacher", "teacher", "--student", "koala-1b", "--keep", "last", "--depth", "3"];
    const { out } = await cut(["made", ...flags, "--json"]);
    const store = await openSafetensors(await openFolder("made"), weights);
    const said = JSON.parse(out);
    expect(Object.keys(said.tensors).sort()).toEqual([...store.tensors.keys()].sort());
    const origin = "up_blocks.0.attentions.2.transformer_blocks.9.attn1.to_q.weight";
    const name = "up_blocks.0.attentions.1.transformer_blocks.2.attn1.to_q.weight";
    expect(said.tensors[name]).toBe(origin);
    for (const student of store.tensors.keys()) {
      const { shape, data } = await store.read(student);
      const same = fill(said.tensors[student], shape).every((x, i) => x === data[i]);
      expect(same, student).toBe(true);
    }
    expect(said).toMatchObject({ folder: "made", rule: "koala-1b", keep: "last", depth: 3, mid: true });
    expect(said.dtypes).toEqual(["float32"]);
    const record = json("made/unet/koala_cut.json");
    expect(planFromRecord(record, "koala_cut.json")).toEqual(said.plan);
    expect(record).toMatchObject({ teacher: "teacher", source: "https://arxiv.org/abs/2312.04005" });
  });

  it("stores weights as asked, and leaves the teacher's choice else", async () => {
    writeFamily("teacher", "sd15");
    const flags = ["--teacher", "teacher", "--student", "bk-sdm-small", "--mid"];
    await cut(["half", ...flags, "--dtype", "float16"]);
    await cut(["again", "--teacher", "half", "--student", "bk-sdm-small", "--keep", "random", "--seed", "2"]);
    for (const folder of ["half", "again"]) {
      const { tensors } = await openSafetensors(await openFolder(folder), weights);
      expect([...new Set([...tensors.values()].map(({ dtype }) => dtype))]).toEqual(["float16"]);
      expect(tensors.has("mid_block.resnets.0.conv1.weight")).toBe(folder === "half");
    }
    expect(json("again/unet/koala_cut.json")).toMatchObject({ keep: "random", seed: 2, depth: null });
  });

  it("gives a folder of variants plain names, and a lone U-Net a lone folder", async () => {
    writeFamily("teacher", "sdxl");
    renameSync("teacher/text_encoder/model.safetensors", "teacher/text_encoder/model.fp16.safetensors");
    writeFileSync("teacher/vae/diffusion_pytorch_model.bin", "a pickle");
    await cut(["made", "--teacher", "teacher", "--student", "koala-1b"]);
    expect(readdirSync("made/text_encoder").sort()).toEqual(["config.json", "model.safetensors"]);
    expect(existsSync("made/vae/diffusion_pytorch_model.bin")).toBe(false);

    await cut(["alone", "--teacher", "teacher/unet", "--student", "koala-1b"]);
    expect(
      readFileSync("alone/diffusion_pytorch_model.safetensors").equals(readFileSync(`made/${weights}`)),
    ).toBe(true);
  });

  it("leaves nothing when Ctrl-C stops it", async () => {
    writeFamily("teacher", "sd15");
    const onInterrupt = (stop: () => void) => {
      stop();
      return () => {};
    };
    const flags = ["--teacher", "teacher", "--student", "bk-sdm-tiny"];
    const { code, out, err } = await cut(["made", ...flags], { onInterrupt });
    expect([code, out, err, readdirSync(".")]).toEqual([130, "", "", ["teacher"]]);
  });
});

describe("koala cut says what is wrong", () => {
  const names = "koala-1b, koala-700m, bk-sdm-base, bk-sdm-small, bk-sdm-tiny, pixart-N";
  const both = ["--teacher", "teacher", "--student", "koala-1b"];
  it.each([
    [
      ["made", "--student", "koala-1b"],
      "--teacher: expected the model to cut from, got nothing [E_FLAG]\nkoala cut --help lists what it takes.",
    ],
    [
      ["made", "--teacher", "teacher"],
      `--student: expected one of ${names}, got nothing [E_FLAG]\nkoala cut --help lists what it takes.`,
    ],
    [
      ["made", "--teacher", "teacher", "--student", "koala"],
      `student: expected one of ${names}, got koala [E_MODEL]`,
    ],
    [
      ["made", ...both, "--keep", "best"],
      '--keep: expected one of first, last, interleaved, random, got "best" [E_FLAG]',
    ],
    [
      ["made", ...both, "--seed", "1"],
      "--seed: expected --keep random, the one choice that a seed changes, got --keep first [E_FLAG]",
    ],
    [
      ["made", ...both, "--depth", "two"],
      '--depth: expected a whole number of at least 1, got "two" [E_FLAG]',
    ],
    [
      ["made", ...both, "--dtype", "int8"],
      '--dtype: expected one of float32, float16, bfloat16, got "int8" [E_FLAG]',
    ],
    [
      ["there", ...both],
      "there: expected a name that is free, got a file or folder that is there [E_OUTPUT]\nNothing is ever overwritten: remove it first, or choose another name.",
    ],
  ])("%#", async (argv, sentence) => {
    mkdirSync("there");
    const { code, err } = await cut(argv);
    expect([code, err]).toEqual([2, `${sentence}\n`]);
    expect(readdirSync(".")).toEqual(["there"]);
  });

  it("of a teacher without a U-Net, and of one whose weights are not its config's", async () => {
    writeFamily("teacher", "sd15");
    const without = await cut(["made", "--teacher", "teacher/vae", "--student", "bk-sdm-base"]);
    expect(without.err).toBe(
      "teacher/vae: expected a model with a U-Net or a transformer, got AutoencoderKL [E_MODEL]\n",
    );
    const config = json("teacher/unet/config.json");
    writeFileSync("teacher/unet/config.json", JSON.stringify({ ...config, cross_attention_dim: 40 }));
    const other = await cut(["made", "--teacher", "teacher", "--student", "bk-sdm-base"]);
    expect(other.err).toMatch(
      /^teacher: expected the \d+ tensors that its config asks for, got 32 of another shape/,
    );
    expect(readdirSync(".")).toEqual(["teacher"]);
  });
});

describe("a cut student draws what diffusers draws with one cut by hand", () => {
  const { pictures } = goldenJson("distill/index.json");
  const expected = goldenTensors("distill/pictures.safetensors");
  it.each(Object.keys(pictures))("%s", async (rule) => {
    const { family, prompt, steps, guidance, width, height, seed } = pictures[rule];
    writeFamily("teacher", family);
    await cut(["student", "--teacher", "teacher", "--student", rule]);
    const pipeline = await Pipeline.load("student", { isOffline: true });
    const drawn: Picture[] = [];
    for await (const event of pipeline.generate({ prompt, steps, guidance, width, height, seed }))
      if (event.type === "image") drawn.push(event.picture);
    await pipeline.dispose();
    const data = expected.get(rule)?.data as Uint8Array<ArrayBuffer>;
    expect(psnr(drawn[0] as Picture, { width, height, data })).toBeGreaterThanOrEqual(45);
  });
});
