import { expect, test } from "vitest";
import type { DType } from "../tensor/dtype.ts";
import type { Shape } from "../tensor/shape.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { checkWeights } from "./check.ts";

const store = (shapes: Record<string, Shape>, dtype: DType = "float16"): TensorStore => ({
  tensors: new Map(
    Object.entries(shapes).map(([name, shape]) => [
      name,
      { dtype, shape, file: null, offset: 0, byteLength: 0 },
    ]),
  ),
  read: () => Promise.reject(new Error("looking must not read")),
});

const model = new Map<string, Shape>([
  ["conv_in.weight", [320, 4, 3, 3]],
  ["down_blocks.0.resnets.0.conv1.weight", [320, 320, 3, 3]],
  ["down_blocks.0.resnets.0.conv1.bias", [320]],
  ["text_model.encoder.layers.0.mlp.fc1.weight", [8, 4]],
]);

test("weights that fit pass, with the buffers that many files carry", () => {
  const fitting = {
    ...Object.fromEntries(model),
    "text_model.embeddings.position_ids": [1, 77],
    logit_scale: [],
  };
  expect(() => checkWeights(store(fitting), model, { where: "m" })).not.toThrow();
});

test("names that the caller allows are no surplus", () => {
  const fitting = { ...Object.fromEntries(model), "ema.decay": [] };
  expect(() => checkWeights(store(fitting), model, { where: "m", ignorable: [/^ema\./] })).not.toThrow();
});

test("everything wrong is told at once, grouped by place", () => {
  const wrong = store({
    "conv_in.weight": [320, 9, 3, 3],
    "text_model.encoder.layers.0.mlp.fc1.weight": [8, 4],
    "add_embedding.linear_1.weight": [1280, 2816],
    "add_embedding.linear_1.bias": [1280],
  });
  expect(() => checkWeights(wrong, model, { where: "m/unet" })).toThrow(
    [
      "m/unet: expected the 4 tensors that its config asks for, got 2 missing, 2 not in the model, 1 of another shape [E_WEIGHTS]",
      "of another shape: conv_in.weight is [320, 9, 3, 3], not [320, 4, 3, 3]",
      "missing: down_blocks.0.resnets.0.conv1.weight and 1 more in down_blocks.0",
      "not in the model: add_embedding.linear_1.weight and 1 more in add_embedding",
    ].join("\n"),
  );
});

test("weights that are no floating-point numbers are told", () => {
  expect(() => checkWeights(store({ w: [2] }, "int8"), new Map([["w", [2]]]), { where: "m" })).toThrow(
    "m: expected the 1 tensors that its config asks for, got 1 of another dtype [E_WEIGHTS]\n" +
      "of another dtype: w is int8, not float32, float16 or bfloat16",
  );
});

test("another model altogether is still told in ten lines", () => {
  const names = Array.from({ length: 40 }, (_, i) => [`up_blocks.${i >> 1}.w${i}`, [1]] as const);
  let message = "";
  try {
    checkWeights(store(Object.fromEntries(names)), model, { where: "m" });
  } catch (error) {
    message = (error as Error).message;
  }
  expect(message.split("\n")).toHaveLength(10);
  expect(message.split("\n").at(-1)).toBe("and 30 more tensors in 15 other places");
});
