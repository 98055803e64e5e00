/**
 * Two-dimensional convolution (cross-correlation, as in the field) and its adjoints. With x [N, C, H, W],
 * weight [O, C, kh, kw] and g [N, O, H', W']:
 *
 *   of conv            ∂x = convTranspose(g, weight)      ∂weight = convWeightGrad(x, g)
 *   of convTranspose   ∂g = conv(·, weight)               ∂weight = convWeightGrad(·, g)
 *
 * ∂weight[o, c, i, j] = Σ x[n, c, y·stride + i·dilation − pad, …] g[n, o, y, x]: a convolution of xᵀ with gᵀ as the
 * kernel, in which stride and dilation have changed places.
 */

import { check } from "../core/assert.ts";
import {
  type Attrs,
  apply,
  type CompositeDef,
  type OnnxEmitter,
  type PrimitiveDef,
  type Target,
  type TensorType,
  type Value,
  whereNow,
} from "../graph/op.ts";
import { type Shape, show, size } from "../tensor/shape.ts";
import { sumTo } from "./broadcast.ts";
import { reshape, transpose } from "./shape.ts";
import { slice } from "./slice.ts";

export interface WindowAttrs extends Attrs {
  /** Vertical, horizontal. */
  readonly stride: readonly number[];
  readonly dilation: readonly number[];
  /** Zeros at top, left, bottom, right: ONNX's order. */
  readonly pad: readonly number[];
}

interface TransposeAttrs extends WindowAttrs {
  /** Height and width of the result: a strided window does not determine them. */
  readonly extent: readonly number[];
}

/** Length of a convolution's result along one axis. */
const windows = (
  length: number,
  kernel: number,
  axis: number,
  { stride, dilation, pad }: WindowAttrs,
): number =>
  Math.floor((length + pad[axis]! + pad[axis + 2]! - dilation[axis]! * (kernel - 1) - 1) / stride[axis]!) + 1;

/** Calls `visit` for every pair of an element of x inside the picture and the window element that reads it. */
function eachTap(
  x: Shape,
  g: Shape,
  kernel: Shape,
  { stride, dilation, pad }: WindowAttrs,
  visit: (inside: number, window: number, tap: number) => void,
): void {
  const [, , H, W] = x as [number, number, number, number];
  const [, , h, w] = g as [number, number, number, number];
  const [kh, kw] = kernel.slice(-2) as [number, number];
  for (let y = 0; y < h; y++)
    for (let i = 0; i < kh; i++) {
      const row = y * stride[0]! + i * dilation[0]! - pad[0]!;
      if (row < 0 || row >= H) continue;
      for (let z = 0; z < w; z++)
        for (let j = 0; j < kw; j++) {
          const col = z * stride[1]! + j * dilation[1]! - pad[1]!;
          if (col >= 0 && col < W) visit(row * W + col, y * w + z, i * kw + j);
        }
    }
}

/** Runs `visit` with flat indices of x, g and weight for every product that a convolution sums. */
function eachProduct(
  x: Shape,
  g: Shape,
  weight: Shape,
  attrs: WindowAttrs,
  visit: (x: number, g: number, w: number) => void,
): void {
  const [N, C] = x as [number, number];
  const O = g[1]!;
  const [inside, window, taps] = [x, g, weight].map((s) => s[2]! * s[3]!) as [number, number, number];
  eachTap(x, g, weight, attrs, (a, b, t) => {
    for (let n = 0; n < N; n++)
      for (let o = 0; o < O; o++)
        for (let c = 0; c < C; c++)
          visit((n * C + c) * inside + a, (n * O + o) * window + b, (o * C + c) * taps + t);
  });
}

export const windowAttributes = ({ stride, dilation }: WindowAttrs): Record<string, readonly bigint[]> => ({
  strides: stride.map(BigInt),
  dilations: dilation.map(BigInt),
});

export const convDef: PrimitiveDef<WindowAttrs> = {
  name: "conv",
  infer: ([x, weight, bias], attrs) => {
    const [N, C, H, W] = x!.shape as [number, number, number, number];
    const [O, I, kh, kw] = weight!.shape as [number, number, number, number];
    const fits =
      x!.shape.length === 4 && weight!.shape.length === 4 && C === I && (!bias || size(bias.shape) === O);
    check(fits, "E_SHAPE", () => ({
      where: whereNow("conv"),
      expected: "[N, C, H, W], [O, C, kh, kw] and [O]",
      got: [x, weight, bias].flatMap((t) => (t ? [show(t.shape)] : [])).join(" and "),
    }));
    const shape = [N, O, windows(H, kh, 0, attrs), windows(W, kw, 1, attrs)];
    check(shape[2]! > 0 && shape[3]! > 0, "E_SHAPE", () => ({
      where: whereNow("conv"),
      expected: `a picture of at least ${kh} x ${kw} with its padding`,
      got: `${H} x ${W}`,
    }));
    return { dtype: x!.dtype, shape };
  },
  reference: ([x, weight, bias], attrs, out) => {
    const result = new Float64Array(size(out));
    const area = out[2]! * out[3]!;
    if (bias) for (let i = 0; i < result.length; i++) result[i] = bias.data[Math.floor(i / area) % out[1]!]!;
    eachProduct(x!.shape, out, weight!.shape, attrs, (a, b, w) => {
      result[b]! += x!.data[a]! * weight!.data[w]!;
    });
    return result;
  },
  vjp: (g, { inputs: [x, weight, bias] }, attrs) => [
    convTransposed(g, weight!, { ...attrs, extent: x!.shape.slice(2) }),
    convWeightGrad(x!, g, attrs, weight!.shape),
    ...(bias ? [reshape(sumTo(g, [1, bias.shape[0]!, 1, 1]), bias.shape)] : []),
  ],
  onnx: (e, inputs, attrs) =>
    e.node("Conv", inputs, { ...windowAttributes(attrs), pads: attrs.pad.map(BigInt) }),
  flops: ([, weight, bias], out) =>
    2 * size(out.shape) * size(weight!.shape.slice(1)) + (bias ? size(out.shape) : 0),
};

export interface ConvOptions {
  readonly stride?: number;
  /** Zeros on every side, or at top, left, bottom, right. */
  readonly pad?: number | readonly [number, number, number, number];
  readonly dilation?: number;
}

const square = (n: number): number[] => [n, n];

export const windowOf = ({ stride = 1, pad = 0, dilation = 1 }: ConvOptions): WindowAttrs => ({
  stride: square(stride),
  dilation: square(dilation),
  pad: typeof pad === "number" ? [pad, pad, pad, pad] : pad,
});

/** `x` [N, C, H, W], `weight` [O, C, kh, kw], `bias` [O] or none → [N, O, H', W']. */
export const conv = (x: Value, weight: Value, bias: Value | null, o: ConvOptions = {}): Value =>
  apply(convDef, bias === null ? [x, weight] : [x, weight, bias], windowOf(o));

/** What each weight of a convolution sees: the adjoint of `conv` in its picture. */
export const convTransposeDef: PrimitiveDef<TransposeAttrs> = {
  name: "convTranspose",
  infer: ([g, weight], attrs) => {
    const [N, O, h, w] = g!.shape as [number, number, number, number];
    const [I, C, kh, kw] = weight!.shape as [number, number, number, number];
    const [H, W] = attrs.extent as [number, number];
    const fits = O === I && windows(H, kh, 0, attrs) === h && windows(W, kw, 1, attrs) === w;
    check(fits, "E_SHAPE", () => ({
      where: whereNow("convTranspose"),
      expected: `[N, ${I}, h, w] as a convolution of a ${H} x ${W} picture with ${show(weight!.shape)} gives`,
      got: show(g!.shape),
    }));
    return { dtype: g!.dtype, shape: [N, C, H, W] };
  },
  reference: ([g, weight], attrs, out) => {
    const result = new Float64Array(size(out));
    eachProduct(out, g!.shape, weight!.shape, attrs, (a, b, w) => {
      result[a]! += g!.data[b]! * weight!.data[w]!;
    });
    return result;
  },
  vjp: (gg, { inputs: [g, weight] }, { stride, dilation, pad }) => [
    apply(convDef, [gg, weight!], { stride, dilation, pad }),
    convWeightGrad(gg, g!, { stride, dilation, pad }, weight!.shape),
  ],
  onnx: (e, inputs, attrs, out, [g, weight]) => {
    const { stride, dilation, pad } = attrs;
    if (isCpu(e.target) && isPlain(attrs, weight!.shape))
      return byFlippedConv(e, inputs, attrs, weight!.shape);
    // what the transposed window leaves at the far edge, which ONNX calls output padding
    const rest = [0, 1].map(
      (axis) =>
        out.shape[axis + 2]! +
        pad[axis]! +
        pad[axis + 2]! -
        (dilation[axis]! * (weight!.shape[axis + 2]! - 1) + 1) -
        stride[axis]! * (g!.shape[axis + 2]! - 1),
    );
    return e.node("ConvTranspose", inputs, {
      ...windowAttributes(attrs),
      pads: pad.map(BigInt),
      output_padding: rest.map(BigInt),
    });
  },
  flops: ([g, weight]) => 2 * size(g!.shape) * size(weight!.shape.slice(1)),
};

const isCpu = (target: Target): boolean => target === "ort-cpu" || target === "openvino";

/** The zeros around g with which a convolution by the flipped kernel is the adjoint, at stride 1. */
const flippedPad = ({ dilation, pad }: WindowAttrs, [, , kh, kw]: Shape): number[] =>
  [kh!, kw!, kh!, kw!].map((k, side) => dilation[side % 2]! * (k - 1) - pad[side]!);

const isPlain = (attrs: WindowAttrs, weight: Shape): boolean =>
  attrs.stride.every((n) => n === 1) && flippedPad(attrs, weight).every((n) => n >= 0);

/**
 * At stride 1: ONNX Runtime's Conv is 1.1 to 1.5 times as fast as its ConvTranspose, the turning of the kernel included, and
 * OpenVINO computes only Conv in bf16.
 */
function byFlippedConv(
  e: OnnxEmitter,
  [g, weight]: readonly string[],
  attrs: WindowAttrs,
  shape: Shape,
): string {
  const [O, C, kh, kw] = shape as [number, number, number, number];
  const taps = e.node("Reshape", [weight!, e.ints([O, C, kh * kw])]);
  const flipped = e.node("Slice", [taps, e.ints([-1]), e.ints([-kh * kw - 1]), e.ints([2]), e.ints([-1])]);
  const turned = e.node("Transpose", [flipped], { perm: [1n, 0n, 2n] });
  const kernel = e.node("Reshape", [turned, e.ints([C, O, kh, kw])]);
  return e.node("Conv", [g!, kernel], {
    ...windowAttributes(attrs),
    pads: flippedPad(attrs, shape).map(BigInt),
  });
}

const convTransposed = (g: Value, weight: Value, attrs: TransposeAttrs): Value =>
  apply(convTransposeDef, [g, weight], attrs);

export interface ConvTransposeOptions extends ConvOptions {
  /** Height and width of the result; absent: the smallest. */
  readonly extent?: readonly [number, number];
}

/** `g` [N, O, h, w], `weight` [O, C, kh, kw] → [N, C, H, W]. */
export function convTranspose(g: Value, weight: Value, o: ConvTransposeOptions = {}): Value {
  const window = windowOf(o);
  const { stride, dilation, pad } = window;
  const smallest = [0, 1].map(
    (axis) =>
      stride[axis]! * (g.shape[axis + 2]! - 1) +
      dilation[axis]! * (weight.shape[axis + 2]! - 1) +
      1 -
      pad[axis]! -
      pad[axis + 2]!,
  );
  return convTransposed(g, weight, { ...window, extent: o.extent ?? smallest });
}

interface WeightGradAttrs extends WindowAttrs {
  readonly shape: Shape;
}

/** `x` [N, C, H, W], `g` [N, O, H', W'] → [O, C, kh, kw]: see the head of this file. */
export const convWeightGradDef: CompositeDef<WeightGradAttrs> = {
  name: "convWeightGrad",
  infer: ([x], { shape }) => ({ dtype: x!.dtype, shape }),
  expand: ([x, g], { stride, dilation, pad, shape }) => {
    const swapped = apply(convDef, [transpose(x!, [1, 0, 2, 3]), transpose(g!, [1, 0, 2, 3])], {
      stride: dilation,
      dilation: stride,
      pad,
    });
    // rows and columns that no window starts in make the result longer than the kernel
    const trimmed = [2, 3].reduce((v, axis) => slice(v, { axis, start: 0, end: shape[axis]! }), swapped);
    return transpose(trimmed, [1, 0, 2, 3]);
  },
  onnx: (e, [x, g], attrs, _out, [xType, gType]) =>
    isCpu(e.target) ? weightGradByTaps(e, x!, g!, attrs, xType!, gType!) : null,
  flops: ([, g], out) => 2 * size(g!.shape) * size(out.shape.slice(1)),
};

/**
 * One product of matrices for each tap of the kernel, [O, N·h·w] · [N·h·w, C]: what the tap saw, with channels last so
 * that a row is contiguous. As a convolution ONNX Runtime takes 1.5 to 2 times as long, since it unrolls a window of
 * h·w taps (measured: C = O = 96, 16 x 16, batch 32, one thread, 22 ms for 39); OpenVINO in bf16 half as long again.
 */
function weightGradByTaps(
  e: OnnxEmitter,
  x: string,
  g: string,
  { stride, dilation, pad, shape }: WeightGradAttrs,
  xType: TensorType,
  gType: TensorType,
): string {
  const [, C] = xType.shape as [number, number];
  const [N, O, h, w] = gType.shape as [number, number, number, number];
  const [kh, kw] = shape.slice(2) as [number, number];
  const last = e.node("Transpose", [x], { perm: [0n, 2n, 3n, 1n] });
  const [top, left, bottom, right] = pad as [number, number, number, number];
  const isPadded = pad.some((n) => n > 0);
  const padded = isPadded ? e.node("Pad", [last, e.ints([0, top, left, 0, 0, bottom, right, 0])]) : last;
  const rows = e.node("Transpose", [g], { perm: [1n, 0n, 2n, 3n] });
  const outputs = e.node("Reshape", [rows, e.ints([O, N * h * w])]);
  const taps: string[] = [];
  for (let i = 0; i < kh; i++)
    for (let j = 0; j < kw; j++) {
      const [y, z] = [i * dilation[0]!, j * dilation[1]!];
      const end = e.ints([y + (h - 1) * stride[0]! + 1, z + (w - 1) * stride[1]! + 1]);
      const seen = e.node("Slice", [padded, e.ints([y, z]), end, e.ints([1, 2]), e.ints(stride)]);
      taps.push(e.node("MatMul", [outputs, e.node("Reshape", [seen, e.ints([N * h * w, C])])])); // [O, C]
    }
  const all = e.node("Reshape", [e.node("Concat", taps, { axis: 0n }), e.ints([kh, kw, O, C])]);
  return e.node("Transpose", [all], { perm: [2n, 3n, 0n, 1n] });
}

const convWeightGrad = (x: Value, g: Value, { stride, dilation, pad }: WindowAttrs, shape: Shape): Value =>
  apply(convWeightGradDef, [x, g], { stride, dilation, pad, shape });
