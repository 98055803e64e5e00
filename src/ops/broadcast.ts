/**
 * Stretching axes of length 1, and its adjoint, summing them back.
 *
 *   op            gradient
 *   broadcastTo   sumTo
 *   sumTo         broadcastTo
 */

import { check } from "../core/assert.ts";
import {
  type Attrs,
  apply,
  type NdArray,
  type OnnxEmitter,
  type PrimitiveDef,
  type TensorType,
  type Value,
  whereNow,
} from "../graph/op.ts";
import { broadcastShapes, type Shape, sameShape, show, size, strides } from "../tensor/shape.ts";

interface ShapeAttrs extends Attrs {
  readonly shape: Shape;
}

/** For each element of `out`, the flat index of the element of `shape` that broadcasts onto it. */
export function broadcastIndex(shape: Shape, out: Shape): Int32Array {
  const steps = strides(shape);
  const lead = out.length - shape.length;
  const step = out.map((_, axis) => (axis < lead || shape[axis - lead] === 1 ? 0 : steps[axis - lead]!));
  let index = new Int32Array(1);
  for (const [axis, length] of out.entries()) {
    const next = new Int32Array(index.length * length);
    for (let i = 0; i < index.length; i++)
      for (let j = 0; j < length; j++) next[i * length + j] = index[i]! + j * step[axis]!;
    index = next;
  }
  return index;
}

/** Whether axes of 1, or missing ones at the front, stretch `from` to `to`. */
export const broadcasts = (from: Shape, to: Shape): boolean =>
  from.length <= to.length && from.every((d, i) => d === 1 || d === to[i + to.length - from.length]);

/** The axes of `wide` along which `narrow` is stretched. */
const stretchedAxes = (narrow: Shape, wide: Shape): number[] =>
  wide.flatMap((d, axis) => {
    const lead = wide.length - narrow.length;
    return axis < lead || (narrow[axis - lead] === 1 && d !== 1) ? [axis] : [];
  });

export const broadcastToDef: PrimitiveDef<ShapeAttrs> = {
  name: "broadcastTo",
  infer: ([x], { shape }) => {
    check(broadcasts(x!.shape, shape), "E_SHAPE", () => ({
      where: whereNow("broadcastTo"),
      expected: `a shape that broadcasts to ${show(shape)}`,
      got: show(x!.shape),
    }));
    return { dtype: x!.dtype, shape };
  },
  reference: ([x], _, out) => Float64Array.from(broadcastIndex(x!.shape, out), (i) => x!.data[i]!),
  vjp: (g, { inputs: [x] }) => [sumTo(g, x!.shape)],
  onnx: (e, [x], { shape }) => e.node("Expand", [x!, e.ints(shape)]),
  flops: () => 0,
};
export const broadcastTo = (x: Value, shape: Shape): Value =>
  sameShape(x.shape, shape) ? x : apply(broadcastToDef, [x], { shape });

/** Sums the axes that `shape` lacks or has as 1, so that the result has exactly that shape. */
export const sumToDef: PrimitiveDef<ShapeAttrs> = {
  name: "sumTo",
  infer: ([x], { shape }) => {
    check(broadcasts(shape, x!.shape), "E_SHAPE", () => ({
      where: whereNow("sumTo"),
      expected: `a shape that ${show(shape)} broadcasts to`,
      got: show(x!.shape),
    }));
    return { dtype: x!.dtype, shape };
  },
  reference: ([x], _, out) => sumOnto(x!, out),
  vjp: (g, { inputs: [x] }) => [broadcastTo(g, x!.shape)],
  onnx: (e, [x], { shape }, _out, [type]) => {
    const axes = stretchedAxes(shape, type!.shape);
    if (axes.length === 0) return e.node("Reshape", [x!, e.ints(shape)]);
    // not to a single number: OpenVINO 2026.4 crashes as it compiles that product
    if (e.target === "openvino" && type!.dtype === "float32" && size(shape) > 1)
      return e.node("Reshape", [byOnes(e, x!, type!, axes), e.ints(shape)]);
    const kept = e.node("ReduceSum", [x!, e.ints(axes)], { keepdims: 1n });
    return shape.length === type!.shape.length ? kept : e.node("Reshape", [kept, e.ints(shape)]);
  },
  flops: ([x]) => size(x!.shape),
};

/**
 * The sum over `axes` as a product with ones, where they are the first axes or end with the last. OpenVINO computes nothing in
 * bf16 that leads to a result through elementwise operations and sums alone: with ReduceSum in the gradient of every bias, that
 * is half of a training step, converted to f32 and back (measured: a small U-Net, 930 ms for 830).
 */
function byOnes(e: OnnxEmitter, x: string, { dtype, shape }: TensorType, axes: readonly number[]): string {
  const ones = (of: Shape): string => e.constant({ dtype, shape: of }, [1]);
  const asRows = (rows: number): string => e.node("Reshape", [x, e.ints([rows, size(shape) / rows])]);
  if (axes.every((axis, i) => axis === i)) {
    const rows = size(shape.slice(0, axes.length));
    return e.node("MatMul", [ones([1, rows]), asRows(rows)]);
  }
  const others = axes.filter((axis, i) => axis !== shape.length - axes.length + i);
  const kept = shape.slice(0, shape.length - axes.length + others.length);
  const isTrailing = others.length < axes.length;
  const cells = size(shape) / size(kept);
  const rest = isTrailing
    ? e.node("Reshape", [e.node("MatMul", [asRows(size(kept)), ones([cells, 1])]), e.ints(kept)])
    : x;
  return others.length === 0 ? rest : e.node("ReduceSum", [rest, e.ints(others)], { keepdims: 1n });
}

export const sumTo = (x: Value, shape: Shape): Value =>
  sameShape(x.shape, shape) ? x : apply(sumToDef, [x], { shape });

function sumOnto(x: NdArray, out: Shape): Float64Array {
  const sums = new Float64Array(size(out));
  const index = broadcastIndex(out, x.shape);
  for (let i = 0; i < index.length; i++) sums[index[i]!]! += x.data[i]!;
  return sums;
}

/** The shape of a binary op on both, with the op's place in the error. */
export const jointShape = (op: string, a: Shape, b: Shape): number[] => broadcastShapes(a, b, whereNow(op));
