/**
 * Parts of a tensor and their joining.
 *
 *   op       gradient
 *   slice    pad with zeros
 *   pad      slice
 *   concat   slices
 */

import { check } from "../core/assert.ts";
import { type Attrs, apply, type NdArray, type PrimitiveDef, type Value, whereNow } from "../graph/op.ts";
import { type Shape, sameShape, show, size, strides, wrapAxis } from "../tensor/shape.ts";

interface SliceAttrs extends Attrs {
  readonly axis: number;
  readonly start: number;
  /** Not included. */
  readonly end: number;
}

/** Copies the block of `from` at `origin` that has the extent of `extent`, into `to` at `target`. */
function copyBlock(from: NdArray, origin: Shape, to: NdArray, target: Shape, extent: Shape): void {
  const a = strides(from.shape);
  const b = strides(to.shape);
  const rows = strides(extent);
  for (let i = 0; i < size(extent); i++) {
    let source = 0;
    let sink = 0;
    for (let axis = 0; axis < extent.length; axis++) {
      const at = Math.floor(i / rows[axis]!) % extent[axis]!;
      source += (origin[axis]! + at) * a[axis]!;
      sink += (target[axis]! + at) * b[axis]!;
    }
    to.data[sink] = from.data[source]!;
  }
}

const along = (shape: Shape, axis: number, at: number): number[] =>
  shape.map((_, i) => (i === axis ? at : 0));

export const sliceDef: PrimitiveDef<SliceAttrs> = {
  name: "slice",
  infer: ([x], { axis, start, end }) => {
    const length = x!.shape[axis];
    check(length !== undefined && start >= 0 && end <= length && start < end, "E_SHAPE", () => ({
      where: whereNow("slice"),
      expected: `a range within axis ${axis} of ${show(x!.shape)}`,
      got: `${start}:${end}`,
    }));
    return { dtype: x!.dtype, shape: x!.shape.map((d, i) => (i === axis ? end - start : d)) };
  },
  reference: ([x], { axis, start }, out) => {
    const data = new Float64Array(size(out));
    copyBlock(x!, along(out, axis, start), { shape: out, data }, along(out, axis, 0), out);
    return data;
  },
  vjp: (g, { inputs: [x] }, { axis, start, end }) => [
    pad(g, { before: along(g.shape, axis, start), after: along(g.shape, axis, x!.shape[axis]! - end) }),
  ],
  onnx: (e, [x], { axis, start, end }) =>
    e.node("Slice", [x!, e.ints([start]), e.ints([end]), e.ints([axis])]),
  flops: () => 0,
};

/** Elements `start` up to, not including, `end` of one axis; `axis` may count from the end. */
export function slice(
  x: Value,
  o: { readonly axis: number; readonly start: number; readonly end: number },
): Value {
  const axis = wrapAxis(o.axis, x.shape.length);
  return o.start === 0 && o.end === x.shape[axis]
    ? x
    : apply(sliceDef, [x], { axis, start: o.start, end: o.end });
}

/** `parts` equal pieces of one axis. @throws KoalaError E_SHAPE when it does not divide */
export function split(x: Value, parts: number, axis: number): Value[] {
  const at = wrapAxis(axis, x.shape.length);
  const length = x.shape[at]! / parts;
  check(Number.isInteger(length), "E_SHAPE", () => ({
    where: whereNow("split"),
    expected: `axis ${at} of ${show(x.shape)} to divide into ${parts} equal parts`,
    got: `${x.shape[at]}`,
  }));
  return Array.from({ length: parts }, (_, i) =>
    slice(x, { axis: at, start: i * length, end: (i + 1) * length }),
  );
}

interface PadAttrs extends Attrs {
  /** Zeros before and after, one entry an axis. */
  readonly before: readonly number[];
  readonly after: readonly number[];
}

export const padDef: PrimitiveDef<PadAttrs> = {
  name: "pad",
  infer: ([x], { before, after }) => {
    const fits = before.length === x!.shape.length && after.length === x!.shape.length;
    check(fits && [...before, ...after].every((n) => n >= 0), "E_SHAPE", () => ({
      where: whereNow("pad"),
      expected: `non-negative widths for each axis of ${show(x!.shape)}`,
      got: `${show(before)} and ${show(after)}`,
    }));
    return { dtype: x!.dtype, shape: x!.shape.map((d, i) => before[i]! + d + after[i]!) };
  },
  reference: ([x], { before }, out) => {
    const data = new Float64Array(size(out));
    copyBlock(
      x!,
      x!.shape.map(() => 0),
      { shape: out, data },
      before,
      x!.shape,
    );
    return data;
  },
  vjp: (g, { inputs: [x] }, { before }) => [
    before.reduce((part, start, axis) => slice(part, { axis, start, end: start + x!.shape[axis]! }), g),
  ],
  onnx: (e, [x], { before, after }) => e.node("Pad", [x!, e.ints([...before, ...after])]),
  flops: () => 0,
};
export const pad = (
  x: Value,
  o: { readonly before: readonly number[]; readonly after: readonly number[] },
): Value =>
  [...o.before, ...o.after].every((n) => n === 0)
    ? x
    : apply(padDef, [x], { before: o.before, after: o.after });

interface ConcatAttrs extends Attrs {
  readonly axis: number;
}

export const concatDef: PrimitiveDef<ConcatAttrs> = {
  name: "concat",
  infer: (inputs, { axis }) => {
    const first = inputs[0]!;
    const withoutAxis = (s: Shape): number[] => s.filter((_, i) => i !== axis);
    check(
      inputs.every((x) => sameShape(withoutAxis(x.shape), withoutAxis(first.shape))),
      "E_SHAPE",
      () => ({
        where: whereNow("concat"),
        expected: `shapes equal but for axis ${axis}`,
        got: inputs.map((x) => show(x.shape)).join(" and "),
      }),
    );
    const length = inputs.reduce((n, x) => n + x.shape[axis]!, 0);
    return { dtype: first.dtype, shape: first.shape.map((d, i) => (i === axis ? length : d)) };
  },
  reference: (inputs, { axis }, out) => {
    const data = new Float64Array(size(out));
    let at = 0;
    for (const x of inputs) {
      copyBlock(x, along(out, axis, 0), { shape: out, data }, along(out, axis, at), x.shape);
      at += x.shape[axis]!;
    }
    return data;
  },
  vjp: (g, { inputs }, { axis }) => {
    let start = 0;
    return inputs.map((x) => {
      const end = start + x.shape[axis]!;
      const part = slice(g, { axis, start, end });
      start = end;
      return part;
    });
  },
  onnx: (e, inputs, { axis }) => e.node("Concat", inputs, { axis: BigInt(axis) }),
  flops: () => 0,
};
export const concat = (xs: readonly Value[], axis: number): Value =>
  xs.length === 1 ? xs[0]! : apply(concatDef, xs, { axis: wrapAxis(axis, xs[0]!.shape.length) });
