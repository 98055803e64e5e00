/** Which files of a pipeline go into another folder. */

import { expect, it } from "vitest";
import { readModelIndex } from "../../weights/layout.ts";
import { memoryFiles } from "../../weights/memory-files.ts";
import { componentCopies } from "./component-files.ts";

const part = ["diffusers", "X"];
const copiesOf = async (components: readonly string[], contents: Readonly<Record<string, string>>) => {
  const index = JSON.stringify({ _class_name: "P", ...Object.fromEntries(components.map((c) => [c, part])) });
  const files = memoryFiles("model", { "model_index.json": index, ...contents });
  const read = await readModelIndex(files);
  const copies = read === null ? [] : await componentCopies(files, read, "unet");
  return copies.map(
    ({ from, to, isWeights }) => `${from}${from === to ? "" : ` > ${to}`}${isWeights ? " *" : ""}`,
  );
};

it("configs, tokenizers, the licence, and one set of weights a component", async () => {
  const copies = await copiesOf(["unet", "vae", "tokenizer"], {
    "LICENSE.md": "",
    "README.md": "",
    "unet/config.json": "",
    "vae/config.json": "",
    "vae/diffusion_pytorch_model.safetensors": "",
    "vae/diffusion_pytorch_model.fp16.safetensors": "",
    "vae/diffusion_pytorch_model.bin": "",
    "tokenizer/vocab.json": "",
    "feature_extractor/preprocessor_config.json": "", // not in the index
  });
  expect(copies).toEqual(
    [
      "LICENSE.md",
      "model_index.json",
      "vae/config.json",
      "vae/diffusion_pytorch_model.safetensors *",
      "tokenizer/vocab.json",
    ].sort((a, b) => copies.indexOf(a) - copies.indexOf(b)),
  );
});

it("variants under plain names, shards as their index calls them", async () => {
  const map = {
    weight_map: { a: "model.fp16-00001-of-00002.safetensors", b: "model.fp16-00002-of-00002.safetensors" },
  };
  const copies = await copiesOf(["text_encoder"], {
    "text_encoder/config.json": "",
    "text_encoder/model.safetensors.index.fp16.json": JSON.stringify(map),
    "text_encoder/model.fp16-00001-of-00002.safetensors": "",
    "text_encoder/model.fp16-00002-of-00002.safetensors": "",
  });
  expect(copies).toEqual([
    "model_index.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors.index.fp16.json > text_encoder/model.safetensors.index.json",
    "text_encoder/model.fp16-00001-of-00002.safetensors *",
    "text_encoder/model.fp16-00002-of-00002.safetensors *",
  ]);
});

it("whatever weights there are of a component that has none in safetensors", async () => {
  const files = { "safety_checker/config.json": "", "safety_checker/pytorch_model.bin": "" };
  expect(await copiesOf(["safety_checker"], files)).toEqual([
    "model_index.json",
    "safety_checker/config.json",
    "safety_checker/pytorch_model.bin *",
  ]);
});
