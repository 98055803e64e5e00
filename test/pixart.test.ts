/** PixArt's transformer and its text encoder against diffusers and transformers, in float32 on the CPU. */

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { grad } from "../src/autodiff/grad.ts";
import { compile } from "../src/engine/compile.ts";
import type { Value } from "../src/graph/op.ts";
import { tapsOf } from "../src/graph/order.ts";
import type { Built } from "../src/models/built.ts";
import { countParameters } from "../src/models/census.ts";
import { timestepEmbedding } from "../src/models/conditioning.ts";
import { buildDit, type DitSize, ditInputs, MASKED } from "../src/models/dit.ts";
import { DIT_FEATURES, DIT_SINUSOID, ditConfig, leftInDitFiles } from "../src/models/dit-config.ts";
import { type PixartPresetName, pixartPresets } from "../src/models/pixart-presets.ts";
import { buildT5, buildT5Pieces, t5Config } from "../src/models/t5-encoder.ts";
import { mean, square } from "../src/ops/index.ts";
import { withLoras } from "../src/pipeline/loras.ts";
import { shapes } from "../src/pipeline/parts.ts";
import { host } from "../src/runtime/host.ts";
import type { TensorStore } from "../src/tensor/stored.ts";
import { float32, int64, type Tensor, toFloat32 } from "../src/tensor/tensor.ts";
import { checkWeights } from "../src/weights/check.ts";
import { memoryFiles } from "../src/weights/memory-files.ts";
import { serializeSafetensors } from "../src/weights/safetensors-writer.ts";
import { fill } from "./fill.ts";
import { filledStore } from "./filled-store.ts";
import { goldenJson, goldenTensors } from "./golden.ts";

/** As in golden-models.test.ts: five times below what is asked for, so that a small mistake shows. */
const tolerance = 2e-5;

const { cases, models } = goldenJson("pixart/index.json");
const expected = goldenTensors("pixart/expected.safetensors");

async function run(
  model: Built,
  feeds: Readonly<Record<string, Tensor>>,
  store: TensorStore = filledStore(model),
): Promise<Tensor> {
  const engine = await host.engine("ort");
  const program = await compile(model.outputs, { engine, store, threads: 1 });
  const results = await program.run(feeds);
  await program.dispose();
  return Object.values(results)[0] as Tensor;
}

function expectNear(got: Tensor, name: string, all: typeof expected = expected): void {
  const right = all.get(name)?.data as Float32Array;
  const values = toFloat32(got);
  expect(values.length).toBe(right.length);
  const scale = right.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const off = right.reduce((most, x, i) => Math.max(most, Math.abs(x - (values[i] ?? Number.NaN))), 0);
  expect(off / scale).toBeLessThan(tolerance);
}

/** What test/golden/README.md hashes. */
const census = (parameters: Built["parameters"]) => ({
  tensors: parameters.size,
  parameters: countParameters(parameters),
  sha256: createHash("sha256")
    .update(
      [...parameters]
        .map(([name, { value }]) => `${name} ${value.shape.join("x")}`)
        .sort()
        .join("\n"),
    )
    .digest("hex"),
});

const maskOf = (lengths: readonly number[], tokens: number): Tensor =>
  float32(
    [lengths.length, tokens],
    lengths.flatMap((length) => Array.from({ length: tokens }, (_, i) => (i < length ? 0 : MASKED))),
  );

describe.each(["alpha", "sigma"])("the transformer of %s", (name) => {
  const c = ditConfig(goldenJson(`pixart/${name}/transformer/config.json`));

  const sizeOf = ({ height, width }: { height: number; width: number }): DitSize => ({
    ...{ batch: 2, height, width, tokens: 9 },
  });
  const feedsOf = (kind: string): Readonly<Record<string, Tensor>> => {
    const { height, width, timesteps } = cases[kind];
    const types = ditInputs(c, sizeOf(cases[kind]));
    const features = (values: readonly number[]) => timestepEmbedding(values, DIT_FEATURES, DIT_SINUSOID);
    const sizes = [8 * height, 8 * width];
    return {
      sample: float32(types.sample.shape, fill("input.sample", types.sample.shape)),
      t_emb: float32(types.t_emb.shape, features(timesteps)),
      text: float32(types.text.shape, fill("input.encoder_hidden_states", types.text.shape)),
      mask: maskOf([9, 5], 9),
      ...(c.hasSizes
        ? {
            resolution: float32([2, 2, DIT_FEATURES], features([...sizes, ...sizes])),
            aspect_ratio: float32([2, DIT_FEATURES], features([height / width, height / width])),
          }
        : {}),
    };
  };

  it.each(Object.keys(cases))("gives diffusers' output, %s", async (kind) => {
    expectNear(await run(buildDit(c, sizeOf(cases[kind])), feedsOf(kind)), `${name}.${kind}`);
  });

  it("may come with what published files have beside the layers", () => {
    const { parameters } = buildDit(c, sizeOf(cases.square));
    const all = shapes({ parameters } as Built);
    const stored = (shape: readonly number[]) =>
      ({ dtype: "float32", shape, file: null, offset: 0, byteLength: 4 }) as const;
    const tensors = new Map([...all].map(([key, shape]) => [key, stored(shape)] as const));
    tensors.set("caption_projection.y_embedding", stored([120, 4096]));
    tensors.set("pos_embed.pos_embed", stored([1, 4, 4]));
    const store: TensorStore = { tensors, read: () => Promise.reject(new Error("not read")) };
    checkWeights(store, all, { where: "x", ignorable: leftInDitFiles });
    expect(() => checkWeights(store, all, { where: "x" })).toThrow("2 not in the model");
  });

  it("with a LoRA gives what PEFT makes of diffusers' transformer", async () => {
    const { tensors } = goldenJson("pixart_lora.json")[name] as { tensors: Record<string, number[]> };
    const files = memoryFiles("here", {
      "lora.safetensors": serializeSafetensors(
        Object.fromEntries(
          Object.entries(tensors).map(([key, shape]) => [key, float32(shape, fill(key, shape))]),
        ),
      ),
    });
    const model = buildDit(c, sizeOf(cases.square));
    const networks = [{ name: "transformer", store: filledStore(model) }];
    const choices = [{ location: "lora", weight: 1 }];
    const [store] = await withLoras(networks, choices, {
      open: async () => files,
      warn: (message) => expect.fail(message),
    });
    expectNear(await run(model, feedsOf("square"), store), name, goldenTensors("pixart_lora.safetensors"));
  });

  it("has diffusers' parameters, and a tap wherever a feature may be distilled", () => {
    const { outputs, parameters } = buildDit(c, { batch: 1, height: 8, width: 8, tokens: 5 });
    expect(census(parameters)).toEqual(models[name].census);
    const taps = tapsOf(Object.values(outputs));
    for (const tap of ["attn1", "attn1.to_q", "attn1.to_k", "attn2", "ff"])
      expect(taps.has(`transformer_blocks.2.${tap}`), tap).toBe(true);
    expect(taps.get("transformer_blocks.0")?.shape).toEqual([1, 16, c.channels]);
  });
});

describe("the T5 encoder", () => {
  const c = t5Config(goldenJson("pixart/sigma/text_encoder/config.json"));
  const tokens = 150;
  const { lengths } = models.t5;
  const ids = int64(
    [2, tokens],
    [0, 1].flatMap((n) => Array.from({ length: tokens }, (_, i) => (37 * i + 11 * n) % 500)),
  );
  const mask = maskOf(lengths, tokens);

  it("gives transformers' states", async () => {
    expectNear(await run(buildT5(c, { batch: 2, tokens }), { ids, mask }), "t5");
  });

  it.each([1, 2])("gives the same in pieces of %i blocks", async (layers) => {
    const [first, ...rest] = buildT5Pieces(c, { batch: 2, tokens }, layers) as [Built, ...Built[]];
    let states = await run(first, { ids });
    for (const piece of rest) states = await run(piece, { states, mask });
    expectNear(states, "t5");
  });

  it("has transformers' parameters, which list the shared embedding under both of its names", () => {
    const own = buildT5(c, { batch: 1, tokens: 2 }).parameters;
    const both = new Map([...own, ["encoder.embed_tokens.weight", own.get("shared.weight")]]) as typeof own;
    expect(census(both)).toEqual({ ...models.t5.census, parameters: expect.any(Number) });
    expect(countParameters(own)).toBe(models.t5.census.parameters);
  });
});

describe("the published transformers", () => {
  // facts: computed from published shapes and, for Sigma, met by the size of its file
  const totals: readonly [PixartPresetName, number][] = [
    ["pixart-alpha", 611_349_152],
    ["pixart-sigma", 610_856_096],
    ["pixart-sigma-512", 610_856_096],
  ];
  it.each(totals)("%s has %i parameters", (name, total) => {
    const c = ditConfig(pixartPresets[name].transformer);
    const { parameters } = buildDit(c, { batch: 1, height: 8, width: 8, tokens: 300 });
    expect(countParameters(parameters)).toBe(total);
  });
});

it("gradients reach every parameter of a transformer and of T5", () => {
  const { transformer, textEncoder } = pixartPresets["pixart-tiny"];
  const models = [
    buildDit(
      ditConfig({
        ...transformer,
        attention_head_dim: 12,
        cross_attention_dim: 48,
        use_additional_conditions: true,
      }),
      {
        ...{ batch: 1, height: 4, width: 4, tokens: 3 },
      },
    ),
    buildT5(t5Config(textEncoder), { batch: 1, tokens: 3 }),
  ];
  for (const { outputs, parameters } of models) {
    const [output] = Object.values(outputs) as [Value];
    const loss = mean(
      square(output),
      output.shape.map((_, i) => i),
      { keep: false },
    );
    const values = [...parameters.values()].map(({ value }) => value);
    expect(grad(loss, values).map(({ shape }) => shape)).toEqual(values.map(({ shape }) => shape)); // throws where none flows
  }
});
