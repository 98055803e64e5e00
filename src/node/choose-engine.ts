/** What `--engine auto` is, by the model and the machine. */

import type { Work } from "../runtime/host.ts";
import type { EngineStatus, Precision } from "../runtime/session.ts";
import { size } from "../tensor/shape.ts";
import type { TensorStore } from "../tensor/stored.ts";

/** Below this many bytes of weights as float32, ONNX Runtime has drawn its picture before OpenVINO has compiled. */
const SMALL = 2 ** 30;

/**
 * What OpenVINO holds at its peak: its packed weights, and, of those that are not stored as float32, a float32 copy besides.
 * A fifth more is for values between layers, as measured for KOALA-700M at 512 px.
 */
function openvinoBytes({ tensors }: TensorStore, precision: Precision): number {
  const packed = precision === "bf16" ? 2 : 4;
  const bytes = [...tensors.values()].map(
    ({ shape, dtype }) => size(shape) * (packed + (dtype === "float32" ? 0 : 4)),
  );
  return 1.2 * bytes.reduce((a, b) => a + b, 0);
}

const floatBytes = ({ tensors }: TensorStore): number =>
  [...tensors.values()].reduce((sum, { shape }) => sum + 4 * size(shape), 0);

export interface Choice {
  readonly name: "ort" | "openvino";
  readonly reason: string;
}

/**
 * The engine that `auto` is. OpenVINO is faster on x86 where its compiling pays and its memory is there; WebGPU is taken by
 * name only, since a software adapter is slower than the CPU and tells not that it is one.
 */
export async function choose(
  { precision, stores }: Work,
  o: { readonly arch: string; readonly freeBytes: number; openvino(): Promise<EngineStatus> },
): Promise<Choice> {
  if (precision !== "f32") return { name: "openvino", reason: `it computes in ${precision}` };
  if (stores.reduce((sum, store) => sum + floatBytes(store), 0) < SMALL)
    return { name: "ort", reason: "the quickest for a small model" };
  if (o.arch !== "x64") return { name: "ort", reason: "the fastest for this kind of CPU" };
  const { isAvailable } = await o.openvino();
  if (!isAvailable) return { name: "ort", reason: "openvino, which is faster, is not here" };
  const needed = Math.max(...stores.map((store) => openvinoBytes(store, precision)));
  if (needed > o.freeBytes)
    return { name: "ort", reason: "openvino, which is faster, needs more memory than there is for it" };
  return { name: "openvino", reason: "the fastest here for a model of this size" };
}
