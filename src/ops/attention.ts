/** Scaled dot-product attention over several heads, whole. */

import { check } from "../core/assert.ts";
import {
  type Attrs,
  apply,
  type CompositeDef,
  type OnnxEmitter,
  type TensorType,
  type Value,
  whereNow,
} from "../graph/op.ts";
import { sameShape, show, size } from "../tensor/shape.ts";
import { softmax } from "./activation.ts";
import { broadcasts } from "./broadcast.ts";
import { add, mul } from "./elementwise.ts";
import { matmul } from "./matmul.ts";
import { reshape, transpose } from "./shape.ts";

interface AttentionAttrs extends Attrs {
  /** K; the head size is E / K. */
  readonly heads: number;
}

/**
 * softmax(q kᵀ / √(E/K) + mask) v, head by head. Vaswani et al. 2017, arXiv:1706.03762, section 3.2.
 * `q` [N, S, E], `k` and `v` [N, T, E], `mask` broadcasting to [N, K, S, T] → [N, S, E].
 */
export const attentionDef: CompositeDef<AttentionAttrs> = {
  name: "attention",
  infer: ([q, k, v, mask], { heads }) => {
    const [N, S, E] = q!.shape;
    const fits =
      q!.shape.length === 3 &&
      E! % heads === 0 &&
      [k!, v!].every((x) => x.shape[0] === N && x.shape[2] === E && x.shape[1] === k!.shape[1]);
    check(fits, "E_SHAPE", () => ({
      where: whereNow("attention"),
      expected: `q [N, S, E] and k, v [N, T, E] with E a multiple of ${heads} heads`,
      got: [q, k, v].map((x) => show(x!.shape)).join(", "),
    }));
    const scores = [N!, heads, S!, k!.shape[1]!];
    check(mask === undefined || broadcasts(mask.shape, scores), "E_SHAPE", () => ({
      where: whereNow("attention"),
      expected: `a mask that broadcasts to ${show(scores)}, texts, heads and scores`,
      got: show(mask!.shape),
    }));
    return q!;
  },
  expand: ([q, k, v, mask], { heads }) => {
    const [N, S, E] = q!.shape as [number, number, number];
    const T = k!.shape[1]!;
    const D = E / heads;
    const headsFirst = (x: Value, length: number): Value =>
      transpose(reshape(x, [N, length, heads, D]), [0, 2, 1, 3]);
    const scaled = mul(headsFirst(q!, S), 1 / Math.sqrt(D)); // [N, K, S, D]
    const scores = matmul(scaled, transpose(reshape(k!, [N, T, heads, D]), [0, 2, 3, 1])); // [N, K, S, T]
    const weights = softmax(mask ? add(scores, mask) : scores, -1);
    return reshape(transpose(matmul(weights, headsFirst(v!, T)), [0, 2, 1, 3]), [N, S, E]);
  },
  onnx: (e, [q, k, v, mask], { heads }, out, types) => {
    if (e.target !== "ort-cpu" && e.target !== "ort-webgpu") return null;
    const bias = mask === undefined ? [] : ["", "", kernelMask(e, mask, out, types)];
    const inputs = [q!, k!, v!, ...bias];
    return e.node("MultiHeadAttention", inputs, { num_heads: BigInt(heads) }, "com.microsoft");
  },
  flops: ([q, k], _out, { heads }) =>
    4 * size(q!.shape) * k!.shape[1]! + 7 * q!.shape[0]! * heads * q!.shape[1]! * k!.shape[1]!,
};

/** The kernel stretches the axes of texts and heads alone: the mask [N or 1, K or 1, S, T]. */
function kernelMask(e: OnnxEmitter, mask: string, out: TensorType, types: readonly TensorType[]): string {
  const [, k, , { shape }] = types as [TensorType, TensorType, TensorType, TensorType];
  const [N = 1, K = 1] = [...[1, 1, 1, 1].slice(shape.length), ...shape];
  const whole = [N, K, out.shape[1]!, k.shape[1]!];
  return sameShape(shape, whole) ? mask : e.node("Expand", [mask, e.ints(whole)]);
}

export interface AttentionOptions {
  readonly heads: number;
  /** Added to the scores, broadcasting to [N, K, S, T]. */
  readonly mask?: Value | null;
}

export const attention = (q: Value, k: Value, v: Value, o: AttentionOptions): Value =>
  apply(attentionDef, o.mask == null ? [q, k, v] : [q, k, v, o.mask], { heads: o.heads });
