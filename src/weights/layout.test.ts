import { expect, test } from "vitest";
import { float32, type Tensor } from "../tensor/tensor.ts";
import { findWeights, maxJsonBytes, openComponent, openStore, readJson, readModelIndex } from "./layout.ts";
import { memoryFiles } from "./memory-files.ts";
import { serializeSafetensors } from "./safetensors-writer.ts";

const one = (v: number): Tensor => float32([1], [v]);
const weights = (tensors: Record<string, Tensor>) => serializeSafetensors(tensors);
const plain = "unet/diffusion_pytorch_model.safetensors";
const half = "unet/diffusion_pytorch_model.fp16.safetensors";
const find = (paths: string[], variant?: string | null) => findWeights(paths, "unet", variant, "m/unet");

test("plain weights come first, the half ones where they are alone or asked for", () => {
  expect(find([plain, half])).toEqual({ kind: "files", paths: [plain], variant: null });
  expect(find([half, "unet/config.json"])).toEqual({ kind: "files", paths: [half], variant: "fp16" });
  expect(find([plain, half], "fp16")).toEqual({ kind: "files", paths: [half], variant: "fp16" });
  expect(find([plain, half], null)).toEqual({ kind: "files", paths: [plain], variant: null });
});

test("another variant is taken where it is the only one", () => {
  expect(find(["unet/model.ema_only.safetensors"])).toMatchObject({ variant: "ema_only" });
});

test("shards are found by their index, in both ways of naming a variant", () => {
  expect(find(["unet/diffusion_pytorch_model.safetensors.index.json"])).toEqual({
    kind: "index",
    path: "unet/diffusion_pytorch_model.safetensors.index.json",
    variant: null,
  });
  expect(find(["unet/model.safetensors.index.fp16.json"])).toMatchObject({ kind: "index", variant: "fp16" });
  expect(find(["unet/model.fp16.safetensors.index.json"])).toMatchObject({ kind: "index", variant: "fp16" });
});

test("one file under another name stands for the weights", () => {
  const path = "unet/sdxl_lightning_4step_unet.safetensors";
  expect(find([path, "unet/config.json", "vae/other.safetensors"])).toEqual({
    kind: "files",
    paths: [path],
    variant: null,
  });
});

test.each([
  [[plain], "fp16", "m/unet: expected weights of the variant fp16, got only the plain one [E_MODEL]"],
  [[half], null, "m/unet: expected plain weights, got only fp16 [E_MODEL]"],
  [
    ["unet/model.a.safetensors", "unet/model.b.safetensors"],
    undefined,
    "m/unet: expected one variant, got only a, b [E_MODEL]",
  ],
  [
    ["unet/a.safetensors", "unet/b.safetensors"],
    undefined,
    "m/unet: expected one safetensors file, got 2: a.safetensors, b.safetensors [E_MODEL]\nGive the path of the one to use.",
  ],
  [
    ["unet/diffusion_pytorch_model.bin"],
    undefined,
    "m/unet: expected weights in safetensors, got only diffusion_pytorch_model.bin [E_MODEL]\n" +
      "Other formats are not read (a pickle can run code when it is opened): convert the weights to safetensors first.",
  ],
  [["unet/config.json"], undefined, "m/unet: expected weights in safetensors, got none [E_MODEL]"],
])("weights that are not there are named: %s, variant %s", (paths, variant, message) => {
  expect(() => find(paths, variant)).toThrow(message);
});

test("a component gives its config and weights", async () => {
  const files = memoryFiles("m", { "unet/config.json": '{"a":1}', [plain]: weights({ x: one(3) }) });
  const { config, store } = await openComponent(files, "unet");
  expect(config).toEqual({ a: 1 });
  expect((await store.read("x")).data[0]).toBe(3);
});

test("a folder that is one component is opened by the empty name", async () => {
  const files = memoryFiles("m", {
    "config.json": "{}",
    "diffusion_pytorch_model.safetensors": weights({ x: one(3) }),
  });
  expect((await openComponent(files, "")).store.tensors.size).toBe(1);
});

const shards = (index: unknown) =>
  memoryFiles("m", {
    "unet/config.json": "{}",
    "unet/model.safetensors.index.json": JSON.stringify(index),
    "unet/model-00001-of-00002.safetensors": weights({ a: one(1), extra: one(9) }),
    "unet/model-00002-of-00002.safetensors": weights({ b: one(2) }),
  });
const [first, second] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;

test("shards are one store, each tensor from the shard that the index says", async () => {
  const { store } = await openComponent(shards({ weight_map: { a: first, b: second } }), "unet");
  expect([...store.tensors.keys()]).toEqual(["a", "b"]);
  expect([(await store.read("a")).data[0], (await store.read("b")).data[0]]).toEqual([1, 2]);
  expect(() => store.read("c")).toThrow(
    'm/unet/model.safetensors.index.json: expected a tensor "c", got none of that name [E_WEIGHTS]',
  );
});

test.each([
  [
    { weight_map: { a: first, b: "model-00003.safetensors" } },
    "m/unet/model.safetensors.index.json: expected the shard unet/model-00003.safetensors, got no such file [E_FILE]",
  ],
  [
    { weight_map: { a: second } },
    "m/unet/model.safetensors.index.json: expected a in model-00002-of-00002.safetensors, got no such tensor there [E_WEIGHTS]",
  ],
  [{}, "m/unet/model.safetensors.index.json: expected a weight_map of file names, got null [E_CONFIG]"],
  [
    { weight_map: { a: "../../secret.safetensors" } },
    "m/unet/model.safetensors.index.json: expected the shard unet/../../secret.safetensors, got no such file [E_FILE]",
  ],
])("an index that does not fit is named: %j", async (index, message) => {
  await expect(openComponent(shards(index), "unet")).rejects.toThrow(message);
});

test("a missing component, config or file is named, with what is there", async () => {
  const files = memoryFiles("m", {
    "unet/config.json": "{}",
    "vae/weights.safetensors": weights({ x: one(1) }),
  });
  await expect(openComponent(files, "unett")).rejects.toThrow(
    "m: expected a folder unett with config.json and weights, got only unet, vae [E_MODEL]\nDid you mean unet?",
  );
  await expect(openComponent(memoryFiles("m", {}), "unet")).rejects.toThrow(
    "m: expected a folder unet with config.json and weights, got no folders [E_MODEL]",
  );
  await expect(openComponent(files, "vae")).rejects.toThrow(
    "m/vae: expected a config.json, got none [E_MODEL]",
  );
  await expect(openStore(files, ["none.safetensors"])).rejects.toThrow(
    "m/none.safetensors: expected a file, got nothing [E_FILE]",
  );
});

test("files together are one store, unless they share a name", async () => {
  const files = memoryFiles("m", {
    "a.safetensors": weights({ x: one(1) }),
    "b.safetensors": weights({ y: one(2) }),
    "c.safetensors": weights({ x: one(3) }),
  });
  const store = await openStore(files, ["a.safetensors", "b.safetensors"]);
  expect((await store.read("y")).data[0]).toBe(2);
  expect(() => store.read("z")).toThrow('m: expected a tensor "z", got none of that name [E_WEIGHTS]');
  await expect(openStore(files, ["a.safetensors", "c.safetensors"])).rejects.toThrow(
    'm: expected every tensor in one file, got "x" in two [E_WEIGHTS]',
  );
});

test("model_index.json tells the components that are there and the options", async () => {
  const json = JSON.stringify({
    _class_name: "StableDiffusionXLPipeline",
    _diffusers_version: "0.42.1",
    unet: ["diffusers", "UNet2DConditionModel"],
    image_encoder: [null, null],
    force_zeros_for_empty_prompt: true,
  });
  expect(await readModelIndex(memoryFiles("m", { "model_index.json": json }))).toEqual({
    className: "StableDiffusionXLPipeline",
    components: new Map([["unet", { library: "diffusers", className: "UNet2DConditionModel" }]]),
    options: { force_zeros_for_empty_prompt: true },
  });
  expect(await readModelIndex(memoryFiles("m", {}))).toBeNull();
  await expect(readModelIndex(memoryFiles("m", { "model_index.json": "[1]" }))).rejects.toThrow(
    "m/model_index.json: expected an object with a _class_name, got [1] [E_CONFIG]",
  );
});

test("JSON that is none, empty or too long is named", async () => {
  const files = memoryFiles("m", { "a.json": "{", "b.json": "" });
  await expect(readJson(files, "a.json")).rejects.toThrow(
    "m/a.json: expected JSON, got text that is not JSON [E_CONFIG]",
  );
  await expect(readJson(files, "b.json")).rejects.toThrow(
    "m/b.json: expected JSON, got an empty file [E_CONFIG]",
  );
  await expect(readJson({ ...files, size: async () => maxJsonBytes + 1 }, "a.json")).rejects.toThrow(
    "m/a.json: expected a JSON file of at most 64000000 bytes, got 64000001 [E_FILE]",
  );
});

test("older and newer names of the same tensors are one to the models", async () => {
  const names = async (tensors: Record<string, Tensor>) => {
    const files = memoryFiles("m", { "c/config.json": "{}", "c/model.safetensors": weights(tensors) });
    return [...(await openComponent(files, "c")).store.tensors].map(([name, { shape }]) => [name, shape]);
  };
  const old = {
    "decoder.mid_block.attentions.0.query.weight": float32([2, 2, 1, 1], [1, 2, 3, 4]),
    "decoder.mid_block.attentions.0.proj_attn.bias": one(1),
    "encoder.conv_in.weight": one(1),
  };
  expect(await names(old)).toEqual([
    ["decoder.mid_block.attentions.0.to_out.0.bias", [1]],
    ["decoder.mid_block.attentions.0.to_q.weight", [2, 2]],
    ["encoder.conv_in.weight", [1]],
  ]);
  const flat = { "embeddings.token_embedding.weight": one(1), "encoder.layers.0.layer_norm1.bias": one(1) };
  expect(await names(flat)).toEqual([
    ["text_model.embeddings.token_embedding.weight", [1]],
    ["text_model.encoder.layers.0.layer_norm1.bias", [1]],
  ]);
});
