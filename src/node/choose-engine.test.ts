import { expect, test } from "vitest";
import type { Precision } from "../runtime/session.ts";
import type { DType } from "../tensor/dtype.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { choose } from "./choose-engine.ts";

const million = 1_000_000;

/** A network of this many million weights. */
const network = (millions: number, dtype: DType): TensorStore => ({
  tensors: new Map([
    ["w", { dtype, shape: [millions, million], file: "w.safetensors", offset: 0, byteLength: 0 }],
  ]),
  read: () => Promise.reject(new Error("weights are not read")),
});

interface Case {
  readonly precision?: Precision;
  readonly stores: readonly TensorStore[];
  readonly freeGB?: number;
  readonly arch?: string;
  readonly isThere?: boolean;
}

const chosen = ({ precision = "f32", stores, freeGB = 16, arch = "x64", isThere = true }: Case) =>
  choose(
    { precision, stores },
    {
      arch,
      freeBytes: freeGB * 1e9,
      openvino: async () => ({ name: "openvino", isAvailable: isThere, detail: "" }),
    },
  );

const large = [network(400, "float32"), network(800, "float32")];

test("a large model goes to OpenVINO", async () => {
  expect(await chosen({ stores: large })).toEqual({
    name: "openvino",
    reason: "the fastest here for a model of this size",
  });
});

test("a small one goes to the engine that starts first", async () => {
  expect(await chosen({ stores: [network(20, "float32"), network(5, "float16")] })).toEqual({
    name: "ort",
    reason: "the quickest for a small model",
  });
});

test("what OpenVINO has no memory for goes to ONNX Runtime: half-precision weights take it twice as much", async () => {
  const reason = "openvino, which is faster, needs more memory than there is for it";
  expect((await chosen({ stores: [network(800, "float32")], freeGB: 4 })).name).toBe("openvino");
  expect(await chosen({ stores: [network(800, "float16")], freeGB: 4 })).toEqual({ name: "ort", reason });
  expect((await chosen({ stores: [network(800, "float16")], freeGB: 8 })).name).toBe("openvino");
});

test("without OpenVINO, or on another kind of CPU, ONNX Runtime it is", async () => {
  expect(await chosen({ stores: large, isThere: false })).toEqual({
    name: "ort",
    reason: "openvino, which is faster, is not here",
  });
  expect(await chosen({ stores: large, arch: "arm64" })).toEqual({
    name: "ort",
    reason: "the fastest for this kind of CPU",
  });
});

test("a precision that OpenVINO alone has decides", async () => {
  expect(await chosen({ stores: [network(1, "float32")], precision: "bf16" })).toEqual({
    name: "openvino",
    reason: "it computes in bf16",
  });
});
