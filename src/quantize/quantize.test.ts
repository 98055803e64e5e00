import { describe, expect, it } from "vitest";
import { interpret } from "../graph/interpret.ts";
import type { NdArray } from "../graph/op.ts";
import { preset } from "../models/presets.ts";
import { buildUNet } from "../models/unet.ts";
import { unetConfig } from "../models/unet-config.ts";
import { dequantize, dequantizeBlocks, input } from "../ops/index.ts";
import type { LayerRecipe } from "../tensor/quantized.ts";
import { fastGenerator } from "../tensor/random.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { Observation } from "./observe.ts";
import { pack } from "./pack.ts";
import { planLayers } from "./plan.ts";
import { quantizedStore } from "./store.ts";
import { spread } from "./unet.ts";

const noise = (length: number): Float32Array<ArrayBuffer> => {
  const values = new Float32Array(length);
  fastGenerator(3, "noise").normal(values, 1);
  return values;
};

const nd = (t: Tensor): NdArray => ({ shape: t.shape, data: Float64Array.from(toFloat32(t)) });

/** The numbers that packed integers stand for, by the reference of the op that reads them. */
function unpacked(weight: Tensor, how: LayerRecipe): Float64Array {
  const { weight: q, scale } = pack(weight, how);
  const [a, b] = [input("q", { shape: q.shape, dtype: q.dtype }), input("scale", { shape: scale.shape })];
  const columns = weight.data.length / (weight.shape[0] ?? 1);
  const value = how.kind === "blocks" ? dequantizeBlocks(a, b, { ...how, columns }) : dequantize(a, b);
  const leaves = new Map([
    ["q", nd(q)],
    ["scale", nd(scale)],
  ]);
  return interpret([value], leaves)[0]?.data ?? new Float64Array(0);
}

/** Mean squared error against mean square, in dB. */
function snr(weight: Tensor, how: LayerRecipe): number {
  const values = toFloat32(weight);
  let [signal, error] = [0, 0];
  for (const [i, v] of unpacked(weight, how).entries()) {
    const wanted = values[i] ?? 0;
    signal += wanted ** 2;
    error += (wanted - v) ** 2;
  }
  return 10 * Math.log10(signal / error);
}

it("gives a row that is nearly 0 no scale by which its bias would be too large for an int32", () => {
  const values = noise(64).map((v, i) => (i < 32 ? v : v * 1e-9));
  const { scale } = pack(float32([2, 32], values), { kind: "channels", input: { scale: 0.03, zero: 0 } });
  const [whole = 0, dead = 0] = toFloat32(scale);
  expect(dead).toBeGreaterThan(whole * 1e-5);
  expect(Math.abs(0.5 / (0.03 * dead))).toBeLessThan(2 ** 31);
  // a bias ten times the largest weight, activations in steps of 0.001
  expect(Math.abs((10 * 127 * whole) / (0.001 * dead))).toBeLessThan(2 ** 31);
});

describe("packed weights", () => {
  const weight = float32([8, 3, 5, 5], noise(600)); // 75 columns: the last block is not full

  it.each([
    // a uniform step Δ has an error of Δ²/12; blocks of 32 normal numbers reach to about 2.2 σ, rows of 75 to 2.4 σ
    ["4 bits", { kind: "blocks", bits: 4, block: 32 }, 20, 23],
    ["8 bits", { kind: "blocks", bits: 8, block: 32 }, 43, 48],
    ["int8", { kind: "channels", input: { scale: 1, zero: 0 } }, 42, 47],
  ] as const)("of %s lose what theory says", (_, how, least, most) => {
    expect(snr(weight, how)).toBeGreaterThan(least);
    expect(snr(weight, how)).toBeLessThan(most);
  });

  it("keep zeros, and blocks of zeros", () => {
    const zeros = float32([2, 32], new Float32Array(64));
    for (const bits of [4, 8] as const)
      expect([...unpacked(zeros, { kind: "blocks", bits, block: 32 })].map(Math.abs)).toEqual(
        new Array(64).fill(0),
      );
    expect([...unpacked(zeros, { kind: "channels", input: { scale: 1, zero: 0 } })]).toEqual(
      new Array(64).fill(0),
    );
  });

  it("hold the largest number of a block exactly, whatever its sign", () => {
    for (const sign of [1, -1]) {
      const values = Float32Array.from({ length: 16 }, (_, i) => (sign * i) / 15);
      values[15] = sign;
      expect(unpacked(float32([1, 16], values), { kind: "blocks", bits: 8, block: 16 })[15]).toBe(sign);
    }
  });
});

describe("steps for activations", () => {
  it("cover what was seen, with zero among them", () => {
    const seen = new Observation();
    seen.add(Float32Array.from({ length: 2001 }, (_, i) => i / 1000 - 0.5)); // -0.5 to 1.5, evenly
    expect(seen.rounding()).toEqual({ scale: Math.fround(2 / 255), zero: 64 });
  });

  it("cut a rare extreme off", () => {
    const seen = new Observation();
    const values = noise(100_000);
    values[1] = 40;
    seen.add(values);
    const { scale, zero } = seen.rounding();
    expect((255 - zero) * scale).toBeLessThan(20);
    expect((255 - zero) * scale).toBeGreaterThan(3);
  });
});

describe("the plan of a U-Net", () => {
  const { outputs } = buildUNet(unetConfig(preset("koala-700m").unet), {
    ...{ batch: 2, height: 64, width: 64, tokens: 77 },
  });
  const forms = new Map(
    planLayers(outputs, "int8", new Set(["sample", "t_emb"])).map(({ layer, form }) => [layer.weight, form]),
  );

  it("multiplies integers in the blocks, not at the ends, nor where the prompt or the time alone are read", () => {
    const eight = { kind: "blocks", bits: 8, block: 32 };
    expect(forms.get("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight")).toBe("integers");
    expect(forms.get("up_blocks.0.resnets.0.conv1.weight")).toBe("integers");
    expect(forms.get("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight")).toEqual(eight);
    expect(forms.get("up_blocks.0.resnets.0.time_emb_proj.weight")).toEqual(eight);
    expect(forms.get("conv_in.weight")).toBe("float");
    expect(forms.get("conv_out.weight")).toBe("float");
  });

  it("stores nothing in floats but the ends in 4 bits", () => {
    const four = planLayers(outputs, "int4", new Set(["sample", "t_emb"]));
    expect(four.filter(({ form }) => form === "float").map(({ layer }) => layer.weight)).toEqual([
      "conv_in.weight",
      "conv_out.weight",
    ]);
  });
});

it("steps are spread over pictures and over the steps of each", () => {
  const steps = Array.from({ length: 160 }, (_, i) => ({ picture: Math.floor(i / 20), step: i % 20 }));
  const chosen = spread(steps, 32);
  expect(chosen).toHaveLength(32);
  expect(new Set(chosen.map(({ picture }) => picture)).size).toBe(8);
  expect(new Set(chosen.map(({ step }) => step)).size).toBeGreaterThan(12);
  expect(new Set(spread(chosen, 8).map(({ step }) => step)).size).toBeGreaterThan(5);
  expect(spread([1, 2, 3], 8)).toEqual([1, 2, 3]);
});

describe("a store seen through a recipe", () => {
  const source = (values: number[]): TensorStore => {
    const tensor = float32([2, 2], values);
    const stored = { dtype: "float32", shape: [2, 2], file: "f", offset: 8, byteLength: 16 } as const;
    return {
      tensors: new Map([
        ["a", stored],
        ["b", stored],
      ]),
      read: async () => tensor,
    };
  };
  const how = { kind: "channels", input: { scale: 1, zero: 0 } } as const;

  it("has integers and scales in the place of what the recipe names, and leaves the rest where it lies", async () => {
    const store = quantizedStore(source([1, -2, 0, 127]), { layers: { a: how } });
    expect([...store.tensors.keys()]).toEqual(["a", "a_scale", "b"]);
    expect(store.tensors.get("b")?.file).toBe("f");
    expect([...(await store.read("a")).data]).toEqual([64, -127, 0, 127]);
    expect([...(await store.read("a_scale")).data]).toEqual([Math.fround(2 / 127), 1]);
  });

  it("refuses numbers that float16 cannot hold", async () => {
    const store = quantizedStore(source([1, 2, 3, 1e6]), { layers: {} }, { isHalved: true });
    await expect(store.read("b")).rejects.toThrow(
      "b: expected finite numbers that float16 holds, up to 65504, got larger ones, or NaN [E_WEIGHTS]",
    );
  });
});
