/**
 * The same elements in another shape or order.
 *
 *   op          gradient
 *   reshape     reshape back
 *   transpose   transpose by the inverse permutation
 */

import { check } from "../core/assert.ts";
import { type Attrs, apply, type PrimitiveDef, type Value, whereNow } from "../graph/op.ts";
import { type Shape, sameShape, show, size, strides } from "../tensor/shape.ts";

interface ReshapeAttrs extends Attrs {
  readonly shape: Shape;
}

export const reshapeDef: PrimitiveDef<ReshapeAttrs> = {
  name: "reshape",
  infer: ([x], { shape }) => {
    check(size(shape) === size(x!.shape), "E_SHAPE", () => ({
      where: whereNow("reshape"),
      expected: `${size(x!.shape)} elements, as ${show(x!.shape)} has`,
      got: show(shape),
    }));
    return { dtype: x!.dtype, shape };
  },
  reference: ([x]) => x!.data,
  vjp: (g, { inputs: [x] }) => [reshape(g, x!.shape)],
  onnx: (e, [x], { shape }) => e.node("Reshape", [x!, e.ints(shape)]),
  flops: () => 0,
};

/** One entry may be −1: it is what the others leave. @throws KoalaError E_SHAPE */
export function reshape(x: Value, shape: Shape): Value {
  const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
  check(!shape.includes(-1) || size(x.shape) % known === 0, "E_SHAPE", () => ({
    where: whereNow("reshape"),
    expected: `a shape whose known axes divide the ${size(x.shape)} elements of ${show(x.shape)}`,
    got: show(shape),
  }));
  const whole = shape.map((d) => (d === -1 ? size(x.shape) / known : d));
  return sameShape(whole, x.shape) ? x : apply(reshapeDef, [x], { shape: whole });
}

interface TransposeAttrs extends Attrs {
  /** Axis i of the result is axis perm[i] of the operand. */
  readonly perm: readonly number[];
}

export const transposeDef: PrimitiveDef<TransposeAttrs> = {
  name: "transpose",
  infer: ([x], { perm }) => {
    const isPermutation = perm.length === x!.shape.length && x!.shape.every((_, i) => perm.includes(i));
    check(isPermutation, "E_SHAPE", () => ({
      where: whereNow("transpose"),
      expected: `a permutation of the ${x!.shape.length} axes of ${show(x!.shape)}`,
      got: show(perm),
    }));
    return { dtype: x!.dtype, shape: perm.map((p) => x!.shape[p]!) };
  },
  reference: ([x], { perm }, out) => {
    const from = strides(x!.shape);
    const to = strides(out);
    const result = new Float64Array(x!.data.length);
    for (let i = 0; i < result.length; i++) {
      let at = 0;
      for (let axis = 0; axis < perm.length; axis++)
        at += (Math.floor(i / to[axis]!) % out[axis]!) * from[perm[axis]!]!;
      result[i] = x!.data[at]!;
    }
    return result;
  },
  vjp: (g, _node, { perm }) => [
    transpose(
      g,
      perm.map((_, i) => perm.indexOf(i)),
    ),
  ],
  onnx: (e, [x], { perm }) => e.node("Transpose", [x!], { perm: perm.map(BigInt) }),
  flops: () => 0,
};

export const transpose = (x: Value, perm: readonly number[]): Value =>
  perm.every((p, i) => p === i) && perm.length === x.shape.length ? x : apply(transposeDef, [x], { perm });
