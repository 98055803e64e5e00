/** Sums, means and maxima over axes. A sum is `sumTo` with the axes dropped or kept. */

import { check } from "../core/assert.ts";
import {
  type Attrs,
  apply,
  type CompositeDef,
  type PrimitiveDef,
  type TensorType,
  type Value,
  whereNow,
} from "../graph/op.ts";
import { type Shape, size, wrapAxis } from "../tensor/shape.ts";
import { broadcastIndex, broadcastTo, sumTo } from "./broadcast.ts";
import { cast, div, equal, mul } from "./elementwise.ts";
import { reshape } from "./shape.ts";

interface AxesAttrs extends Attrs {
  /** Non-negative; the result keeps them as 1. */
  readonly axes: readonly number[];
}

const kept = (shape: Shape, axes: readonly number[]): number[] =>
  shape.map((d, i) => (axes.includes(i) ? 1 : d));

const keptType = (op: string, x: TensorType, axes: readonly number[]): TensorType => {
  check(
    axes.every((a) => a >= 0 && a < x.shape.length),
    "E_SHAPE",
    () => ({ where: whereNow(op), expected: `axes below the rank ${x.shape.length}`, got: `${axes}` }),
  );
  return { dtype: x.dtype, shape: kept(x.shape, axes) };
};

/** The mean over axes, kept as 1. */
export const meanDef: CompositeDef<AxesAttrs> = {
  name: "mean",
  infer: ([x], { axes }) => keptType("mean", x!, axes),
  expand: ([x], { axes }) => {
    const shape = kept(x!.shape, axes);
    return mul(sumTo(x!, shape), size(shape) / size(x!.shape));
  },
  onnx: (e, [x], { axes }) =>
    axes.length === 0 ? x! : e.node("ReduceMean", [x!, e.ints(axes)], { keepdims: 1n }),
  flops: ([x]) => size(x!.shape),
};

/** The maximum over axes, kept as 1; ties share the cotangent equally, as PyTorch's amax does. */
export const maxDef: PrimitiveDef<AxesAttrs> = {
  name: "max",
  infer: ([x], { axes }) => keptType("max", x!, axes),
  reference: ([x], _, out) => {
    const result = new Float64Array(size(out)).fill(Number.NEGATIVE_INFINITY);
    const index = broadcastIndex(out, x!.shape);
    for (let i = 0; i < index.length; i++) result[index[i]!] = Math.max(result[index[i]!]!, x!.data[i]!);
    return result;
  },
  vjp: (g, node) => {
    const x = node.inputs[0]!;
    const isMax = cast(equal(x, broadcastTo(node, x.shape)), "float32");
    return [mul(isMax, div(g, sumTo(isMax, node.shape)))];
  },
  onnx: (e, [x], { axes }) => e.node("ReduceMax", [x!, e.ints(axes)], { keepdims: 1n }),
  flops: ([x]) => size(x!.shape),
};

export interface ReduceOptions {
  /** Keep reduced axes as 1. */
  readonly keep?: boolean;
}

/** All of these take axes that may count from the end. */
const over =
  (reduce: (x: Value, axes: readonly number[]) => Value) =>
  (x: Value, axes: readonly number[], o: ReduceOptions = {}): Value => {
    const wrapped = axes.map((a) => wrapAxis(a, x.shape.length));
    const result = reduce(x, wrapped);
    return o.keep === true
      ? result
      : reshape(
          result,
          x.shape.filter((_, i) => !wrapped.includes(i)),
        );
  };

type Reduction = (x: Value, axes: readonly number[], o?: ReduceOptions) => Value;
export const sum: Reduction = over((x, axes) => sumTo(x, keptType("sum", x.type, axes).shape));
export const mean: Reduction = over((x, axes) => apply(meanDef, [x], { axes }));
export const max: Reduction = over((x, axes) => apply(maxDef, [x], { axes }));
