/** What the planner decides, on SDXL's own decoder by its shapes; what memory really is taken is measured in docs/memory.md. */

import { describe, expect, it } from "vitest";
import { KoalaError } from "../core/errors.ts";
import { buildVaeDecoder, buildVaeEncoder, type VaeConfig } from "../models/vae.ts";
import { input, linear, param, silu } from "../ops/index.ts";
import type { Recipe } from "../tensor/quantized.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import {
  type MemoryPlan,
  outOfMemory,
  type PlanOptions,
  PROCESS_BYTES,
  pictureEncoderName,
  planMemory,
  planText,
} from "./memory.ts";

const kl: VaeConfig = {
  ...{ pictureChannels: 3, latentChannels: 4, channels: [128, 256, 512, 512], layers: 2, groups: 32 },
  ...{ hasMidAttention: true, hasQuantConv: true, hasPostQuantConv: true },
  ...{ scalingFactor: 0.13025, shiftFactor: 0, sampleSize: 1024 },
};
const store: TensorStore = {
  tensors: new Map(),
  read: () => Promise.reject(new Error("planning reads no weights")),
};
const cells = 64;
const decoder = {
  name: "vae",
  store,
  outputs: buildVaeDecoder(kl, { batch: 1, height: cells, width: cells }).outputs,
};

/** One that takes next to nothing, so that the decoder decides. */
const small = (rows: number) => ({
  ...{ name: "unet", store },
  outputs: { prediction: silu(input("sample", { shape: [rows, 1000] })) },
});
const denoiser = small(1);

const plan = (o: Partial<PlanOptions>): MemoryPlan =>
  planMemory({
    ...{ encoders: [], denoiser, inTurns: null, mayBatch: true, target: "ort-cpu", isKept: false },
    ...{ pictureEncoder: null, decoder, kl, height: cells, width: cells, limit: null },
    hasPreviews: false,
    ...{ isFirm: false, vae: "auto", mayStay: false },
    ...o,
  });

describe("planMemory", () => {
  it("decodes whole where there is room, else in the fewest stripes that fit", () => {
    expect(plan({}).stripes).toBeNull();
    expect(plan({ limit: 2e9 }).stripes).toBeNull();
    const tiled = plan({ limit: 1e9 });
    expect(tiled.stripes).toBe(8);
    expect(tiled.peak).toBeLessThan(1e9);
    expect(plan({ vae: "tiled" }).stripes).toBe(8);
    expect(plan({ limit: 6e8 }).stripes).toBeGreaterThan(8);
  });

  it.each([
    { height: 64, stripes: 8, measured: 731e6 },
    { height: 64, stripes: 32, measured: 471e6 },
    { height: 128, stripes: 32, measured: 1451e6 },
  ])("is no less than what $stripes stripes of $height rows took, and the command's own 70 MB", (o) => {
    const { height, stripes, measured } = o;
    const all = Array.from({ length: 40 }, (_, i) =>
      plan({ height, width: height, vae: "tiled", limit: i * 5e7 }),
    );
    const peak = all.find((its) => its.stripes === stripes)?.peak ?? 0;
    expect(peak).toBeGreaterThan(measured + 70e6);
  });

  it("is no less than the 1802 MB that the whole took at 512 px", () => {
    expect(plan({}).peak).toBeGreaterThan(1802e6 + 70e6);
  });

  it("refuses a budget that nothing fits, with the least that would do; what is merely free is not refused", () => {
    const least = plan({ limit: 1 });
    expect(() => plan({ limit: 1e8, isFirm: true })).toThrow(
      new KoalaError("E_MEMORY", {
        where: "memory",
        expected: `at least ${(least.peak / 1e9).toFixed(2)} GB, which vae needs for this picture`,
        got: "0.10 GB",
        hint: "A smaller picture or a quantized model (koala quantize) needs less.",
      }),
    );
    expect(plan({ limit: least.peak, isFirm: true })).toEqual(least);
  });

  it("keeps programs loaded only where all fit together", () => {
    const encoders = [{ ...decoder, name: "other" }];
    expect(plan({ encoders, mayStay: true }).isTogether).toBe(true);
    expect(plan({ encoders, mayStay: true, limit: 2e9 }).isTogether).toBe(false);
  });

  it("guides in one run of both prompts where there is room, else in turns", () => {
    const both = { denoiser: small(200_000), inTurns: small(100_000) }; // 0.8 and 0.4 GB of values
    expect(plan(both).isInTurns).toBe(false);
    const tight = plan({ ...both, limit: 1.3e9 });
    expect([tight.isInTurns, tight.stripes]).toEqual([true, 8]);
    expect(tight.peak).toBeLessThan(1.3e9);
    expect(plan({ ...both, mayBatch: false }).isInTurns).toBe(true);
    expect(plan({ limit: 1 }).isInTurns).toBe(false);
  });

  it("counts weights that are stored as integers in their own bytes", () => {
    const weight = param("weight", [16_384, 16_384]);
    const outputs = { prediction: linear(input("sample", { shape: [1, 16_384] }), weight, null) };
    const recipe: Recipe = { layers: { weight: { kind: "blocks", bits: 4, block: 32 } } };
    const stored = { offset: 0, file: null };
    const tensors = new Map<string, StoredTensor>([
      ["weight", { ...stored, dtype: "uint8", shape: [16_384, 512, 16], byteLength: 2 ** 27 }],
      ["weight_scale", { ...stored, dtype: "float16", shape: [16_384, 512], byteLength: 2 ** 24 }],
    ]);
    const network = { name: "unet", outputs, store: { ...store, tensors, recipe } };
    const unet = plan({ denoiser: network }).stages[0]?.bytes ?? 0;
    expect(unet).toBeGreaterThan(165e6 + 2 ** 27); // 134 MB, where floats are 1.07 GB
    expect(unet).toBeLessThan(165e6 + 3.5 * 2 ** 27);
  });

  it("counts a decoder that makes previews beside the denoiser, and once where all stay", () => {
    const bytesOf = ({ stages }: MemoryPlan): number[] => stages.map(({ bytes }) => bytes);
    const [unet = 0, vae = 0] = bytesOf(plan({}));
    const previewed = plan({ hasPreviews: true });
    expect(bytesOf(previewed)).toEqual([unet + vae - PROCESS_BYTES, vae]);
    expect(previewed.peak).toBe(unet + vae - PROCESS_BYTES);
    const [staying, usual] = [true, false].map((hasPreviews) => plan({ hasPreviews, mayStay: true }));
    expect([staying?.isTogether, staying?.peak]).toEqual([true, usual?.peak]);
  });

  it("makes room for previews by guidance in turns, then by stripes", () => {
    const both = { denoiser: small(200_000), inTurns: small(100_000), hasPreviews: true }; // 0.8 and 0.4 GB
    const whole = plan(both);
    expect([whole.stripes, whole.isInTurns]).toEqual([null, false]);
    const inTurns = plan({ ...both, limit: whole.peak - 1 });
    expect([inTurns.stripes, inTurns.isInTurns]).toEqual([null, true]);
    const least = plan({ ...both, limit: inTurns.peak - 1 });
    expect(least.stripes).toBeGreaterThan(1);
    for (const { peak } of [inTurns, least]) expect(peak).toBeLessThan(whole.peak);
    const { peak } = plan({ ...both, limit: 1 });
    expect(plan({ ...both, limit: peak, isFirm: true }).peak).toBe(peak);
    expect(() => plan({ ...both, limit: peak - 1, isFirm: true })).toThrow("which unet needs");
  });

  it("encodes the picture that is started from as it decodes: whole where there is room, else in stripes", () => {
    const side = 8 * cells;
    const pictureEncoder = {
      ...{ name: pictureEncoderName, store },
      outputs: buildVaeEncoder(kl, { batch: 1, height: side, width: side }).outputs,
    };
    const whole = plan({ pictureEncoder });
    expect(whole.encoderStripes).toBeNull();
    const tight = plan({ pictureEncoder, limit: 8e8 });
    expect(tight.encoderStripes).toBeGreaterThan(1);
    expect(tight.peak).toBeLessThan(8e8);
    expect(planText(tight)).toMatch(
      /: vae encoder 0\.\d\d in \d+ stripes, unet 0\.\d\d, vae 0\.\d\d in \d+ stripes;/,
    );
    expect(plan({ pictureEncoder, vae: "tiled" }).encoderStripes).toBe(8);
    expect(plan({ pictureEncoder, kl: null, limit: 1 }).encoderStripes).toBeNull();
    expect(plan({ limit: 1 }).encoderStripes).toBeNull();
    expect(plan({ pictureEncoder, mayStay: true, limit: 8e8 }).isTogether).toBe(false);
  });

  it("has no stripes for a tiny decoder", () => {
    expect(() => plan({ kl: null, vae: "tiled" })).toThrow(
      "--vae: expected full, since this model's VAE is a tiny one that needs no tiles, got tiled [E_FLAG]",
    );
  });
});

const some: MemoryPlan = {
  stages: [
    { name: "unet", bytes: 3.724e9 },
    { name: "vae", bytes: 0.766e9 },
  ],
  ...{ peak: 3.724e9, isTogether: false, stripes: 8, encoderStripes: null, isInTurns: true },
};

it("a plan is one line", () => {
  expect(planText(some)).toBe(
    "memory plan 3.72 GB: unet 3.72, vae 0.77 in 8 stripes; guidance in turns; one after another",
  );
});

it("memory that runs out is one sentence with the plan that would have fitted; other errors stay what they are", () => {
  expect(String(outOfMemory(new Error("std::bad_alloc"), () => some))).toBe(
    "KoalaError: memory: expected 3.72 GB free, the least for this picture, got no more memory on this machine [E_MEMORY]\n" +
      "Try --vae tiled, or close other programs; nothing half-made is left.",
  );
  const other = new Error("no such node");
  expect(outOfMemory(other, () => some)).toBe(other);
});
