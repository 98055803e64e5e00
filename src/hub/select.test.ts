import { expect, test } from "vitest";
import { type ModelIndex, parseModelIndex } from "../weights/layout.ts";
import { memoryFiles } from "../weights/memory-files.ts";
import { missingPart, selectFiles } from "./select.ts";

const index: ModelIndex = {
  className: "StableDiffusionXLPipeline",
  components: new Map([
    ["unet", { library: "diffusers", className: "UNet2DConditionModel" }],
    ["tokenizer", { library: "transformers", className: "CLIPTokenizer" }],
    ["feature_extractor", { library: "transformers", className: "CLIPImageProcessor" }],
  ]),
  options: {},
};

test("shards come with their index, those of the chosen variant only", () => {
  const shard = (n: number, variant: string) =>
    `unet/diffusion_pytorch_model${variant}-0000${n}-of-00002.safetensors`;
  const old = (n: number) => `unet/diffusion_pytorch_model-0000${n}-of-00002.fp16.safetensors`;
  const plain = "unet/diffusion_pytorch_model.safetensors.index.json";
  const half = "unet/diffusion_pytorch_model.safetensors.index.fp16.json";
  const paths = [
    "model_index.json",
    "unet/config.json",
    plain,
    half,
    shard(1, ""),
    shard(2, ""),
    shard(1, ".fp16"),
    shard(2, ".fp16"),
  ];
  const choose = (all: string[], variant?: string | null) =>
    selectFiles(all, index, { where: "m", ...(variant === undefined ? {} : { variant }) }).slice(2);
  expect(choose(paths)).toEqual([half, shard(1, ".fp16"), shard(2, ".fp16")]);
  expect(choose(paths, null)).toEqual([plain, shard(1, ""), shard(2, "")]);
  expect(choose(["model_index.json", "unet/config.json", half, old(1), old(2), shard(1, "")])).toEqual([
    half,
    old(1),
    old(2),
  ]);
});

test("configs of other frameworks are left out", () => {
  const paths = [
    "model_index.json",
    "unet/config.json",
    "unet/flax_config.json",
    "unet/model.safetensors",
    "unet/README.md",
  ];
  expect(selectFiles(paths, index, { where: "m" })).toEqual([
    "model_index.json",
    "unet/config.json",
    "unet/model.safetensors",
  ]);
});

test("a repository of one component, or of one file, is taken whole", () => {
  const component = ["config.json", "diffusion_pytorch_model.safetensors", "README.md", "flax_model.msgpack"];
  expect(selectFiles(component, null, { where: "m" })).toEqual([
    "config.json",
    "diffusion_pytorch_model.safetensors",
  ]);
  expect(selectFiles(["a/b.safetensors", "README.md"], null, { where: "m" })).toEqual(["a/b.safetensors"]);
});

test("a repository without a model in a form that can be read is named", () => {
  const expected =
    "m: expected a diffusers pipeline (model_index.json), a component (config.json) or one .safetensors file, got ";
  expect(() => selectFiles(["v1-5.ckpt"], null, { where: "m" })).toThrow(
    `${expected}none of them [E_MODEL]\nFormats that can run code when opened (.ckpt, .bin) are not read.`,
  );
  expect(() => selectFiles(["a.safetensors", "b.safetensors"], null, { where: "m" })).toThrow(
    `${expected}2 .safetensors files [E_MODEL]\nName one: m/a.safetensors, m/b.safetensors`,
  );
});

test("what a folder lacks is found", async () => {
  const json = JSON.stringify({
    _class_name: "P",
    unet: ["diffusers", "UNet2DConditionModel"],
    tokenizer: ["transformers", "CLIPTokenizer"],
  });
  const whole = {
    "model_index.json": json,
    "unet/config.json": "{}",
    "unet/model.safetensors.index.json": '{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}',
    "unet/1.safetensors": "",
    "unet/2.safetensors": "",
    "tokenizer/vocab.json": "{}",
  };
  const without = (...names: string[]) =>
    missingPart(
      memoryFiles("m", Object.fromEntries(Object.entries(whole).filter(([name]) => !names.includes(name)))),
    );
  expect(await without()).toBeNull();
  expect(await without("tokenizer/vocab.json")).toBe("tokenizer");
  expect(await without("unet/config.json")).toBe("unet/config.json");
  expect(await without("unet/2.safetensors")).toBe("unet/2.safetensors");
  expect(await without("unet/model.safetensors.index.json")).toBe("the weights of unet");
  expect(await missingPart(memoryFiles("m", { "config.json": "{}" }))).toBe("weights");
  expect(await missingPart(memoryFiles("m", { "x.safetensors": "" }))).toBeNull();
  expect(await missingPart(memoryFiles("m", {}))).toBe("weights");
});

test("of components whose weights are not wanted the small files are enough", async () => {
  const contents = {
    "model_index.json": JSON.stringify({
      _class_name: "P",
      unet: ["diffusers", "UNet2DConditionModel"],
      vae: ["diffusers", "AutoencoderKL"],
      tokenizer: ["transformers", "CLIPTokenizer"],
    }),
    "tokenizer/vocab.json": "{}",
    "vae/config.json": "{}",
    "vae/model.safetensors": "",
  };
  const unet = { "unet/config.json": "{}", "unet/model.safetensors": "" };
  const both = parseModelIndex(JSON.parse(contents["model_index.json"]), "m");
  const small = ["model_index.json", "unet/config.json", "vae/config.json", "tokenizer/vocab.json"];
  const choose = (weightsOf: readonly string[]) =>
    selectFiles(Object.keys({ ...contents, ...unet }), both, { where: "m", weightsOf }).sort();
  expect(choose([])).toEqual([...small].sort());
  expect(choose(["vae", "text_encoder"])).toEqual([...small, "vae/model.safetensors"].sort());

  const files = memoryFiles("m", contents);
  expect(await missingPart(files, ["vae"])).toBeNull();
  expect(await missingPart(files, ["unet", "vae"])).toBe("unet");
  expect(await missingPart(files)).toBe("unet");
  const { "tokenizer/vocab.json": _, ...rest } = contents;
  expect(await missingPart(memoryFiles("m", rest), [])).toBe("tokenizer");
});

test("an adapter's weights come with the config that PEFT keeps beside them", () => {
  const paths = ["README.md", "adapter_config.json", "adapter_model.safetensors"];
  expect(selectFiles(paths, null, { where: "m" })).toEqual([
    "adapter_model.safetensors",
    "adapter_config.json",
  ]);
});
