/** Where values come from: weights, inputs and constants; and the tap, which gives a value a name. */

import { type Attrs, apply, type PrimitiveDef, type TensorType, type Value } from "../graph/op.ts";
import type { DType } from "../tensor/dtype.ts";
import { type Shape, size } from "../tensor/shape.ts";

interface LeafAttrs extends Attrs {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
}

const leafType = (_: readonly TensorType[], { dtype, shape }: LeafAttrs): TensorType => ({ dtype, shape });

/** Values of leaves come from outside: the interpreter is given them. */
const noReference = (): Float64Array => new Float64Array(0);

/** A weight, named as in the checkpoint. */
export const paramDef: PrimitiveDef<LeafAttrs> = {
  name: "param",
  infer: leafType,
  reference: noReference,
  vjp: () => [],
  onnx: (e, _inputs, { name }, out) => e.weight(name, out),
  flops: () => 0,
};
export const param = (name: string, shape: Shape, dtype: DType = "float32"): Value =>
  apply(paramDef, [], { name, dtype, shape });

/** A tensor fed at every run. */
export const inputDef: PrimitiveDef<LeafAttrs> = {
  name: "input",
  infer: leafType,
  reference: noReference,
  vjp: () => [],
  onnx: (e, _inputs, { name }, out) => e.input(name, out),
  flops: () => 0,
};
export const input = (name: string, o: { readonly shape: Shape; readonly dtype?: DType }): Value =>
  apply(inputDef, [], { name, dtype: o.dtype ?? "float32", shape: o.shape });

interface ConstantAttrs extends Attrs {
  readonly dtype: DType;
  readonly shape: Shape;
  /** Row-major; one value fills the whole shape. */
  readonly values: readonly number[];
}

/** Numbers known when the graph is built: scalars, masks, index tables. */
export const constantDef: PrimitiveDef<ConstantAttrs> = {
  name: "constant",
  infer: (_, { dtype, shape }) => ({ dtype, shape }),
  reference: (_, { values }, out) =>
    values.length === 1 ? new Float64Array(size(out)).fill(values[0]!) : Float64Array.from(values),
  vjp: () => [],
  onnx: (e, _inputs, { values }, out) => e.constant(out, values),
  flops: () => 0,
};
export const constant = (shape: Shape, values: ArrayLike<number>, dtype: DType = "float32"): Value =>
  apply(constantDef, [], { dtype, shape, values: Array.from(values) });

/** A float32 of rank 0. */
export const scalar = (x: number): Value => constant([], [x]);

interface TapAttrs extends Attrs {
  readonly name: string;
}

/** The value itself under a name that a program can ask for; costs nothing when nobody does. */
export const tapDef: PrimitiveDef<TapAttrs> = {
  name: "tap",
  infer: ([x]) => x!,
  reference: ([x]) => x!.data,
  vjp: (g) => [g],
  onnx: (_e, [x]) => x!,
  flops: () => 0,
};
export const tap = (name: string, x: Value): Value => apply(tapDef, [x], { name });

/** The value itself, through which no gradient flows. */
export const stopGradientDef: PrimitiveDef = {
  name: "stopGradient",
  infer: ([x]) => x!,
  reference: ([x]) => x!.data,
  vjp: () => [null],
  onnx: (_e, [x]) => x!,
  flops: () => 0,
};
export const stopGradient = (x: Value): Value => apply(stopGradientDef, [x], {});
