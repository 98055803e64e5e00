/** One model in several precisions, a request each. */

import { expect, it } from "vitest";
import { drawn } from "../../test/drawn.ts";
import { emojiModel } from "../../test/model-folder.ts";
import type { Picture } from "../image/pixels.ts";
import { psnr } from "../image/psnr.ts";
import { openFolder } from "../node/files.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { openDrawable } from "./model.ts";
import { storesOf } from "./parts-of.ts";
import { Pipeline } from "./pipeline.ts";
import { inPrecision, precisionsOf, usualPrecision } from "./precision.ts";
import type { PrecisionName } from "./request.ts";

const bytesOf = ({ tensors }: TensorStore): number =>
  [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);

it("draws in what the request names, one after another with one model, and plans for it", async () => {
  const pipeline = await Pipeline.load(emojiModel, { engine: "ort", threads: 1 });
  const draw = async (precision: PrecisionName): Promise<Picture> => {
    const [picture] = await drawn(pipeline, { prompt: "a red apple", seed: 7, steps: 2, precision });
    return picture as Picture;
  };
  try {
    const exact = await draw("f32");
    const [eight, four] = [await draw("int8"), await draw("int4")];
    expect(psnr(eight, exact)).toBeGreaterThan(35);
    expect(psnr(four, exact)).toBeGreaterThan(20);
    expect(psnr(four, exact)).toBeLessThan(psnr(eight, exact) - 6); // a bit is worth 6 dB, these are four
    expect((await draw("f32")).data).toEqual(exact.data);
    const [least, most] = (["int4", "f32"] as const).map(
      (precision) => pipeline.plan(pipeline.resolve({ prompt: "", precision })).peak,
    );
    expect(least).toBeLessThan(most ?? 0);
  } finally {
    await pipeline.dispose();
  }
});

it("records what it draws in, unless that is f32", async () => {
  const pipeline = await Pipeline.load(emojiModel, { engine: "ort", precision: "int4" });
  expect(pipeline.resolve({ prompt: "" }).precision).toBe("int4");
  expect(pipeline.resolve({ prompt: "", precision: "int8" }).precision).toBe("int8");
  const usual = await Pipeline.load(emojiModel, { engine: "ort" });
  expect("precision" in usual.resolve({ prompt: "" })).toBe(false);
});

it("refuses what the engine cannot, with what it can", async () => {
  const pipeline = await Pipeline.load(emojiModel, { engine: "ort" });
  expect(pipeline.precisions).toEqual(["f32", "int8", "int4"]);
  expect(() => pipeline.resolve({ prompt: "", precision: "bf16" })).toThrow(
    "precision: expected one that this model has on ort: f32, int8, int4, got bf16 [E_REQUEST]\nbf16 needs OpenVINO and a CPU that has it: koala engines says whether both are here.",
  );
});

const emoji = async () =>
  openDrawable(await openFolder(emojiModel), {
    openBase: () => Promise.reject(new Error("a folder needs no base")),
    warn() {},
  });
const ort = { name: "ort", target: "ort-cpu", load: () => Promise.reject(new Error("not run")) } as const;

it("computes in bf16 what products of integers leave over, where the engine has it, and nothing else", async () => {
  const openvino = { ...ort, name: "openvino", precisions: ["f32", "bf16"] } as const;
  const model = await emoji();
  const rounding = { scale: 1, zero: 0 };
  const recipe = { layers: { "conv_in.weight": { kind: "channels", input: rounding } } } as const;
  const integers = { ...model, denoiser: { ...model.denoiser, store: { ...model.denoiser.store, recipe } } };
  expect(usualPrecision(integers, openvino)).toBe("bf16");
  expect(usualPrecision(integers, ort)).toBe("f32");
  expect(usualPrecision(model, openvino)).toBe("f32");
  expect(usualPrecision(inPrecision(model, "int4"), openvino)).toBe("f32");
});

it("packs matrices and kernels in blocks, but for the first and the last, and packs nothing twice", async () => {
  const model = await emoji();
  const small = inPrecision(model, "int4");
  const { layers } = small.denoiser.store.recipe ?? { layers: {} };
  expect(layers["conv_in.weight"]).toBeUndefined();
  expect(layers["conv_out.weight"]).toBeUndefined();
  expect(layers["time_embedding.linear_1.weight"]).toMatchObject({ kind: "blocks", bits: 8 });
  expect(
    Object.values(layers).filter((how) => how.kind === "blocks" && how.bits === 4).length,
  ).toBeGreaterThan(50);
  expect(bytesOf(small.denoiser.store)).toBeLessThan(0.4 * bytesOf(model.denoiser.store)); // of float16
  expect(small.vae).toBe(model.vae);
  expect(precisionsOf(small, ort)).toEqual(["f32"]);
  expect(storesOf(inPrecision(model, "bf16"))).toEqual(storesOf(model));
});
