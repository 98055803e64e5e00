import { expect, it } from "vitest";
import { byteVocabulary } from "./byte-vocabulary.ts";
import { checkpointNames } from "./names.ts";

it("knows a text tower without the prefix, as transformers 5 writes it", () => {
  expect(checkpointNames("text_model.final_layer_norm.bias")).toEqual([
    "text_model.final_layer_norm.bias",
    "final_layer_norm.bias",
  ]);
});

it("knows the attention of the VAE by its old names", () => {
  expect(checkpointNames("decoder.mid_block.attentions.0.to_out.0.weight")).toEqual([
    "decoder.mid_block.attentions.0.to_out.0.weight",
    "decoder.mid_block.attentions.0.proj_attn.weight",
  ]);
  expect(checkpointNames("encoder.mid_block.attentions.0.to_q.bias")[1]).toBe(
    "encoder.mid_block.attentions.0.query.bias",
  );
});

it("leaves every other name alone", () => {
  expect(checkpointNames("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight")).toHaveLength(
    1,
  );
  expect(checkpointNames("text_projection.weight")).toHaveLength(1);
});

it("makes a vocabulary whose first and last entries are those of CLIP's own", () => {
  const vocabulary = byteVocabulary(49408);
  // From openai/clip-vit-large-patch14's vocab.json.
  expect(vocabulary).toMatchObject({
    "!": 0,
    a: 64,
    "!</w>": 256,
    "a</w>": 320,
    "<|startoftext|>": 49406,
    "<|endoftext|>": 49407,
  });
  expect(Object.keys(vocabulary)).toHaveLength(514);
});
