/** How strongly a LoRA is added, by what its file or the config beside it says. */

import { expect, it } from "vitest";
import type { StoredTensor } from "../tensor/stored.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";
import { memoryFiles } from "../weights/memory-files.ts";
import { serializeSafetensors } from "../weights/safetensors-writer.ts";
import { type Adaptable, withLoras } from "./loras.ts";

const module = "transformer_blocks.0.attn1.to_q";

const network = (name: string, weight: string): Adaptable => {
  const stored: StoredTensor = { dtype: "float32", shape: [4, 4], file: null, offset: 0, byteLength: 64 };
  return {
    name,
    store: { tensors: new Map([[weight, stored]]), read: async () => float32([4, 4], new Float32Array(16)) },
  };
};

/** The scale of the one layer of a LoRA of rank 2. */
async function scaleOf(
  prefix: string,
  to: Adaptable,
  o: {
    tensors?: Record<string, Tensor>;
    metadata?: Record<string, string>;
    config?: object;
    name?: string;
  } = {},
): Promise<number | undefined> {
  const tensors = {
    [`${prefix}.lora_A.weight`]: float32([2, 4], new Float32Array(8)),
    [`${prefix}.lora_B.weight`]: float32([4, 2], new Float32Array(8)),
    ...o.tensors,
  };
  const files = memoryFiles("lora", {
    [o.name ?? "adapter_model.safetensors"]: serializeSafetensors(tensors, o.metadata),
    ...(o.config === undefined ? {} : { "adapter_config.json": JSON.stringify(o.config) }),
  });
  const [store] = await withLoras([to], [{ location: "lora", weight: 0.5 }], {
    open: async () => files,
    warn() {},
  });
  return [...(store?.adapters?.values() ?? [])][0]?.[0]?.scale;
}

const unet = network("unet", `down_blocks.0.attentions.0.${module}.weight`);
const own = `unet.down_blocks.0.attentions.0.${module}`;

it("diffusers' header says alpha", async () => {
  const metadata = { lora_adapter_metadata: JSON.stringify({ "unet.r": 2, "unet.lora_alpha": 8 }) };
  expect(await scaleOf(own, unet, { metadata, name: "pytorch_lora_weights.safetensors" })).toBe(2);
  expect(await scaleOf(own, unet)).toBe(0.5);
});

it("PEFT's config beside the file says alpha, and its names of a U-Net and a transformer are read", async () => {
  const config = { r: 2, lora_alpha: 16 };
  expect(await scaleOf(`base_model.model.down_blocks.0.attentions.0.${module}`, unet, { config })).toBe(4);
  const transformer = network("transformer", `${module}.weight`);
  expect(await scaleOf(`base_model.model.${module}`, transformer, { config })).toBe(4);
});

it("alpha in the file counts before either", async () => {
  const tensors = { [`${own}.alpha`]: float32([], Float32Array.of(1)) };
  expect(await scaleOf(own, unet, { tensors, config: { lora_alpha: 16 } })).toBe(0.25);
});

it("tensors beside the layers are told of", async () => {
  const files = memoryFiles("lora", {
    "pytorch_lora_weights.safetensors": serializeSafetensors({
      [`${own}.lora_A.weight`]: float32([2, 4], new Float32Array(8)),
      [`${own}.lora_B.weight`]: float32([4, 2], new Float32Array(8)),
      [`${own}.alpha`]: float32([], Float32Array.of(1)),
      [`${own}.diff_b`]: float32([4], new Float32Array(4)),
      "elsewhere.norm.w_norm": float32([4], new Float32Array(4)),
    }),
  });
  const warnings: string[] = [];
  await withLoras([unet], [{ location: "lora", weight: 1 }], {
    open: async () => files,
    warn: (message) => warnings.push(message),
  });
  expect(warnings).toEqual(["lora holds 2 tensors that nothing reads, such as elsewhere.norm.w_norm"]);
});
