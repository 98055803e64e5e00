/**
 * Products of matrices; `linear` is the one with a stored weight [out, in] and a bias, lowered whole.
 *
 *   matmul(a, b)   ∂a = g bᵀ,  ∂b = aᵀ g, each summed over the axes that were broadcast
 */

import { check } from "../core/assert.ts";
import {
  apply,
  type CompositeDef,
  type NdArray,
  type None,
  type PrimitiveDef,
  type Value,
  whereNow,
} from "../graph/op.ts";
import { type Shape, show, size } from "../tensor/shape.ts";
import { broadcastIndex, jointShape, sumTo } from "./broadcast.ts";
import { add } from "./elementwise.ts";
import { reshape, transpose } from "./shape.ts";

const swapLast = (x: Value): Value => {
  const n = x.shape.length;
  return transpose(
    x,
    x.shape.map((_, i) => (i === n - 1 ? n - 2 : i === n - 2 ? n - 1 : i)),
  );
};

/** `a` [..., m, k], `b` [..., k, n] → [..., m, n]; leading axes broadcast. */
export const matmulDef: PrimitiveDef<None> = {
  name: "matmul",
  infer: ([a, b]) => {
    const fits = a!.shape.length >= 2 && b!.shape.length >= 2 && a!.shape.at(-1) === b!.shape.at(-2);
    check(fits, "E_SHAPE", () => ({
      where: whereNow("matmul"),
      expected: "[..., m, k] and [..., k, n]",
      got: `${show(a!.shape)} and ${show(b!.shape)}`,
    }));
    const batch = jointShape("matmul", a!.shape.slice(0, -2), b!.shape.slice(0, -2));
    return { dtype: a!.dtype, shape: [...batch, a!.shape.at(-2)!, b!.shape.at(-1)!] };
  },
  reference: ([a, b], _, out) => multiply(a!, b!, out),
  vjp: (g, { inputs: [a, b] }) => [
    sumTo(matmul(g, swapLast(b!)), a!.shape),
    sumTo(matmul(swapLast(a!), g), b!.shape),
  ],
  onnx: (e, inputs) => e.node("MatMul", inputs),
  flops: ([a], out) => 2 * size(out.shape) * a!.shape.at(-1)!,
};
export const matmul = (a: Value, b: Value): Value => apply(matmulDef, [a, b], {});

function multiply(a: NdArray, b: NdArray, out: Shape): Float64Array {
  const [m, n] = out.slice(-2) as [number, number];
  const k = a.shape.at(-1)!;
  const batch = out.slice(0, -2);
  const as = broadcastIndex(a.shape.slice(0, -2), batch);
  const bs = broadcastIndex(b.shape.slice(0, -2), batch);
  const result = new Float64Array(size(out));
  for (let i = 0; i < as.length; i++)
    for (let row = 0; row < m; row++)
      for (let inner = 0; inner < k; inner++) {
        const left = a.data[(as[i]! * m + row) * k + inner]!;
        const from = (bs[i]! * k + inner) * n;
        const to = (i * m + row) * n;
        for (let col = 0; col < n; col++) result[to + col]! += left * b.data[from + col]!;
      }
  return result;
}

/** `x` [..., I], `weight` [O, I], `bias` [O] or none → [..., O]: x·weightᵀ + bias. */
export const linearDef: CompositeDef<None> = {
  name: "linear",
  infer: ([x, weight, bias]) => {
    const [outputs, inputs] = weight!.shape;
    const fits =
      weight!.shape.length === 2 && x!.shape.at(-1) === inputs && (!bias || size(bias.shape) === outputs);
    check(fits, "E_SHAPE", () => ({
      where: whereNow("linear"),
      expected: "[..., I], [O, I] and [O]",
      got: [x, weight, bias].flatMap((t) => (t ? [show(t.shape)] : [])).join(" and "),
    }));
    return { dtype: x!.dtype, shape: [...x!.shape.slice(0, -1), outputs!] };
  },
  expand: ([x, weight, bias]) => {
    // rows first: the weight's gradient is then one product, not one a batch entry
    const rows = matmul(reshape(x!, [-1, x!.shape.at(-1)!]), transpose(weight!, [1, 0]));
    return reshape(bias ? add(rows, bias) : rows, [...x!.shape.slice(0, -1), weight!.shape[0]!]);
  },
  /** Over rows: ∂x = g W, ∂W = gᵀ x, ∂b = Σ g. */
  vjp: (g, { inputs: [x, weight, bias] }) => {
    const [outputs, inputs] = weight!.shape as [number, number];
    const rows = reshape(g, [-1, outputs]);
    return [
      reshape(matmul(rows, weight!), x!.shape),
      matmul(transpose(rows, [1, 0]), reshape(x!, [-1, inputs])),
      ...(bias ? [reshape(sumTo(rows, [1, outputs]), bias.shape)] : []),
    ];
  },
  onnx: (e, [x, weight, bias], _attrs, out, [type]) => {
    if (e.target !== "ort-cpu") return null;
    const flat = type!.shape.length === 2 ? x! : e.node("Reshape", [x!, e.ints([-1, type!.shape.at(-1)!])]);
    const rows = e.node("Gemm", bias === undefined ? [flat, weight!] : [flat, weight!, bias], { transB: 1n });
    return type!.shape.length === 2 ? rows : e.node("Reshape", [rows, e.ints(out.shape)]);
  },
  flops: ([x], out) => 2 * size(out.shape) * x!.shape.at(-1)! + size(out.shape),
};
export const linear = (x: Value, weight: Value, bias: Value | null): Value =>
  apply(linearDef, bias === null ? [x, weight] : [x, weight, bias], {});
