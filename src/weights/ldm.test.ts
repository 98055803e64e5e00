import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Shape } from "../tensor/shape.ts";
import { size } from "../tensor/shape.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import { float32 } from "../tensor/tensor.ts";
import { normalizeNames } from "./dialects.ts";
import { detectSingleFile } from "./ldm.ts";
import type { LdmPart } from "./ldm-table.ts";

/** See test/golden/README.md, section ldm: rows of diffusers' name, LDM's name, LDM's shape, transform. */
interface Golden {
  readonly configs: Record<LdmPart, Record<string, unknown>>;
  readonly ignored: readonly string[];
  readonly components: Record<LdmPart, readonly [string, string, Shape, string][]>;
}

const golden = (name: string): Golden =>
  JSON.parse(readFileSync(new URL(`../../test/golden/ldm/${name}.json`, import.meta.url), "utf8"));

/** A file with these tensors, one behind the other; element i of a tensor is i. */
function fileOf(shapes: Iterable<readonly [string, Shape]>): TensorStore {
  const tensors = new Map<string, StoredTensor>();
  let offset = 1000;
  for (const [name, shape] of shapes) {
    if (tensors.has(name)) continue;
    const byteLength = 4 * size(shape);
    tensors.set(name, { dtype: "float32", shape, file: "/x.safetensors", offset, byteLength });
    offset += byteLength;
  }
  return {
    tensors,
    async read(name) {
      const shape = tensors.get(name)?.shape ?? [];
      return float32(
        shape,
        Array.from({ length: size(shape) }, (_, i) => i),
      );
    },
  };
}

/** As an A1111 file of that golden would be: all components, what is ignored, and what training leaves behind. */
function goldenFile(g: Golden, extra: readonly string[] = []): TensorStore {
  const rows = Object.values(g.components).flat();
  return fileOf([
    ...rows.map(([, theirs, shape]) => [theirs, shape] as const),
    ...[...g.ignored, "model_ema.decay", "alphas_cumprod", "sqrt_one_minus_alphas_cumprod", ...extra].map(
      (name) => [name, [1]] as const,
    ),
  ]);
}

describe.each(["sd15", "sd2", "sdxl"])("%s in LDM's names", (name) => {
  const g = golden(name);
  const file = goldenFile(g);

  test("gives the names, shapes and bytes that diffusers' own converters give", async () => {
    const { parts, surplus, layout } = await detectSingleFile(file, "x.safetensors");
    expect(layout).toBe("ldm");
    expect([...parts.keys()].sort()).toEqual(Object.keys(g.components).sort());
    expect(surplus).toEqual([]);
    for (const [part, rows] of Object.entries(g.components) as [LdmPart, Golden["components"]["unet"]][]) {
      const store = parts.get(part)?.store as TensorStore;
      expect([...store.tensors.keys()].sort()).toEqual(rows.map(([diffusers]) => diffusers).sort());
      for (const [diffusers, theirs, shape, change] of rows) {
        const stored = store.tensors.get(diffusers) as StoredTensor;
        const source = file.tensors.get(theirs) as StoredTensor;
        expect(stored, diffusers).toEqual(expected(source, shape, change));
      }
    }
  });

  test("tells the config of each part", async () => {
    const { parts } = await detectSingleFile(file, "x.safetensors");
    for (const [part, config] of Object.entries(g.configs) as [LdmPart, Record<string, unknown>][]) {
      // not written in any shape: the sizes of pictures, the width of a head or group in models smaller than real ones,
      // and where the tower ends in no projection, the width that a projection would have
      const unknowable = [
        "sample_size",
        "attention_head_dim",
        "num_attention_heads",
        "norm_num_groups",
        "addition_time_embed_dim",
      ];
      if (part === "text_encoder") unknowable.push("projection_dim");
      const known = Object.entries(config).filter(([field]) => !unknowable.includes(field));
      expect(parts.get(part)?.config, part).toMatchObject(Object.fromEntries(known));
    }
  });
});

function expected(source: StoredTensor, shape: Shape, change: string): StoredTensor {
  if (change === "") return source;
  if (change === "squeeze") return { ...source, shape: shape.slice(0, 2) };
  if (change === "transpose") return { ...source, shape: [...shape].reverse(), file: null };
  const [, a, b] = /^rows (\d+):(\d+)$/.exec(change) ?? [];
  const rowBytes = 4 * size(shape.slice(1));
  const [first, end] = [Number(a), Number(b)];
  return {
    ...source,
    shape: [end - first, ...shape.slice(1)],
    offset: source.offset + first * rowBytes,
    byteLength: (end - first) * rowBytes,
  };
}

test("the families are told apart", async () => {
  const familyOf = async (name: string) => (await detectSingleFile(goldenFile(golden(name)), "x")).family;
  expect(await Promise.all(["sd15", "sd2", "sdxl"].map(familyOf))).toEqual(["sd1", "sd2", "sdxl"]);
});

test("class names are those of model_index.json", async () => {
  const { parts } = await detectSingleFile(goldenFile(golden("sdxl")), "x");
  expect([...parts].map(([part, { className }]) => [part, className])).toEqual([
    ["unet", "UNet2DConditionModel"],
    ["vae", "AutoencoderKL"],
    ["text_encoder", "CLIPTextModel"],
    ["text_encoder_2", "CLIPTextModelWithProjection"],
  ]);
});

test("reading cuts rows, turns columns into rows and drops axes of one", async () => {
  const { parts } = await detectSingleFile(goldenFile(golden("sdxl")), "x");
  const text = parts.get("text_encoder_2")?.store as TensorStore;
  const k = await text.read("text_model.encoder.layers.0.self_attn.k_proj.weight"); // rows 48 to 96 of [144, 48]
  expect([k.shape, k.data[0], k.data.at(-1)]).toEqual([[48, 48], 48 * 48, 96 * 48 - 1]);
  const projection = await text.read("text_projection.weight"); // [48, 40] the other way round
  expect([projection.shape, projection.data[1], projection.data[48]]).toEqual([[40, 48], 40, 1]);
  const q = await parts.get("vae")?.store.read("decoder.mid_block.attentions.0.to_q.weight");
  expect([q?.shape, q?.data[33]]).toEqual([[32, 32], 33]);
  await expect(text.read("nothing")).rejects.toThrow(
    'x: expected a tensor "nothing", got none of that name [E_WEIGHTS]',
  );
});

test("what belongs to no part is surplus", async () => {
  const file = goldenFile(golden("sd15"), ["lora.something", "model.diffusion_model.strange.weight"]);
  expect((await detectSingleFile(file, "x")).surplus).toEqual([
    "model.diffusion_model.strange.weight",
    "lora.something",
  ]);
});

test("a U-Net alone, with or without LDM's prefix, has no other parts", async () => {
  const rows = golden("sdxl").components.unet;
  const bare = (prefix: string) =>
    fileOf(rows.map(([, theirs, shape]) => [prefix + theirs.slice("model.diffusion_model.".length), shape]));
  for (const prefix of ["model.diffusion_model.", ""]) {
    const { parts, family } = await detectSingleFile(bare(prefix), "x");
    expect([[...parts.keys()], family]).toEqual([["unet"], "sdxl"]);
  }
});

test("a U-Net in diffusers' names is taken as it is", async () => {
  const file = fileOf(golden("sdxl").components.unet.map(([diffusers, , shape]) => [diffusers, shape]));
  const { layout, family, parts } = await detectSingleFile(file, "x");
  expect([layout, family, parts.get("unet")?.store]).toEqual(["diffusers", "sdxl", file]);
});

test("early SD 1 files, whose text encoder lacks text_model, are read", async () => {
  const file = goldenFile(golden("sd15"));
  const early = fileOf(
    [...file.tensors].map(([name, { shape }]) => [
      name.replace("transformer.text_model.", "transformer."),
      shape,
    ]),
  );
  const { parts, surplus } = await detectSingleFile(early, "x");
  expect(surplus).toEqual([]);
  expect(parts.get("text_encoder")?.store.tensors.size).toBe(golden("sd15").components.text_encoder.length);
});

test("the size of pictures goes with the family and what it predicts", async () => {
  const sizeOf = async (file: TensorStore) =>
    (await detectSingleFile(file, "x")).parts.get("unet")?.config.sample_size;
  const wide = { ...goldenFile(golden("sd2")), read: async () => float32([2], [-1, 1]) };
  expect(await sizeOf(goldenFile(golden("sd15")))).toBe(64);
  expect(await sizeOf(goldenFile(golden("sdxl")))).toBe(128);
  expect(await sizeOf(wide)).toBe(96);
});

test("SD 2 predicts v or noise by the spread of one bias, SDXL v where the file says so", async () => {
  const bias = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
  const withBias = (spread: number): TensorStore => {
    const file = goldenFile(golden("sd2"));
    return { ...file, read: async (name) => float32([2], name === bias ? [-spread, spread] : [0, 0]) };
  };
  const predictionOf = async (file: TensorStore) => (await detectSingleFile(file, "x")).predictionType;
  expect(await predictionOf(withBias(0.1))).toBe("v_prediction");
  expect(await predictionOf(withBias(0.08))).toBe("epsilon");
  expect(await predictionOf(goldenFile(golden("sdxl")))).toBe("epsilon");
  expect(await predictionOf(goldenFile(golden("sdxl"), ["v_pred", "ztsnr"]))).toBe("v_prediction");
});

test("an SDXL file says that it was trained with noise alone at the end, as ComfyUI reads it: only where it predicts v", async () => {
  const isZero = async (...flags: string[]) =>
    (await detectSingleFile(goldenFile(golden("sdxl"), flags), "x")).isZeroSnr;
  expect(await isZero("v_pred", "ztsnr")).toBe(true);
  expect([await isZero("v_pred"), await isZero("ztsnr"), await isZero()]).toEqual([false, false, false]);
});

const nothingOfOurs =
  "x: expected a Stable Diffusion checkpoint (model.diffusion_model.…) or a U-Net in diffusers' names (down_blocks.…), got ";

test.each([
  [[], "a file without tensors [E_MODEL]"],
  [["a.b"], "1 tensors such as a.b [E_MODEL]"],
  [
    ["lora_unet_down_blocks_0.lora_down.weight"],
    "1 tensors such as lora_unet_down_blocks_0.lora_down.weight [E_MODEL]\nIt looks like a LoRA, which changes a model and is none by itself.",
  ],
  [
    ["double_blocks.0.img_attn.norm.key_norm.scale"],
    "1 tensors such as double_blocks.0.img_attn.norm.key_norm.scale [E_MODEL]\nIt looks like Flux or Stable Diffusion 3, which koala does not know.",
  ],
  [
    ["control_model.time_embed.0.weight"],
    "1 tensors such as control_model.time_embed.0.weight [E_MODEL]\nIt looks like a ControlNet, which koala does not know.",
  ],
  [
    ["encoder.conv_in.weight"],
    "1 tensors such as encoder.conv_in.weight [E_MODEL]\nIt looks like a VAE alone: put it into a model folder's vae/ instead.",
  ],
])("another kind of file is refused by what it looks like: %s", async (names, got) => {
  await expect(detectSingleFile(fileOf(names.map((name) => [name, [1]])), "x")).rejects.toThrow(
    nothingOfOurs + got,
  );
});

test("relatives that work otherwise are refused", async () => {
  const refusal = (got: string) => `x: expected Stable Diffusion 1, 2 or XL, got ${got} [E_MODEL]`;
  const sdxl = golden("sdxl");
  await expect(detectSingleFile(goldenFile(sdxl, ["edm_mean"]), "x")).rejects.toThrow(
    refusal("a model of the EDM kind (Playground 2.5)"),
  );
  const unet = sdxl.components.unet.map(([, theirs, shape]) => [theirs, shape] as const);
  const text = (prefix: string) =>
    sdxl.components.text_encoder_2.map(
      ([, theirs, shape]) => [prefix + theirs.slice("conditioner.embedders.1.model.".length), shape] as const,
    );
  await expect(detectSingleFile(fileOf([...unet, ...text("cond_stage_model.model.")]), "x")).rejects.toThrow(
    refusal("a U-Net that takes pictures as prompt (unCLIP)"),
  );
  await expect(
    detectSingleFile(fileOf([...unet, ...text("conditioner.embedders.0.model.")]), "x"),
  ).rejects.toThrow(refusal("the refiner of Stable Diffusion XL"));
});

test("two names for one tensor are an error", async () => {
  const file = goldenFile(golden("sd15"), ["model.diffusion_model.output_blocks.2.2.conv.weight"]);
  await expect(detectSingleFile(file, "x")).rejects.toThrow(
    "x: expected one tensor for up_blocks.0.upsamplers.0.conv.weight, got both model.diffusion_model.output_blocks.2.1.conv.weight and model.diffusion_model.output_blocks.2.2.conv.weight [E_WEIGHTS]",
  );
});

test("a VAE alone in LDM's names has diffusers' in a folder", async () => {
  const rows = golden("sd15").components.vae;
  const alone = fileOf(
    rows.map(([, theirs, shape]) => [theirs.slice("first_stage_model.".length), shape] as const),
  );
  const { parts } = await detectSingleFile(goldenFile(golden("sd15")), "x");
  const shapesOf = (store: TensorStore | undefined) =>
    [...(store?.tensors ?? [])].map(([name, { shape }]) => [name, shape] as const).sort();
  const renamed = normalizeNames(alone, "x");
  expect(shapesOf(renamed)).toEqual(shapesOf(parts.get("vae")?.store));
  const q = "decoder.mid_block.attentions.0.to_q.weight";
  expect((await renamed.read(q)).data).toEqual((await parts.get("vae")?.store.read(q))?.data);
});

test("a U-Net of SD 2 alone predicts v or noise by the same bias, and has the size that goes with it", async () => {
  const bias = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias";
  const bare = fileOf(golden("sd2").components.unet.map(([diffusers, , shape]) => [diffusers, shape]));
  const detected = async (spread: number) => {
    const read: TensorStore["read"] = async (name) =>
      float32([2], name === bias ? [-spread, spread] : [0, 0]);
    const { predictionType, parts } = await detectSingleFile({ ...bare, read }, "x");
    return [predictionType, parts.get("unet")?.config.sample_size];
  };
  expect(await detected(0.1)).toEqual(["v_prediction", 96]);
  expect(await detected(0.08)).toEqual(["epsilon", 64]);
});
