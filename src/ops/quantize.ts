/**
 * Products of integers: what a layer reads is rounded to uint8 by a scale known beforehand, its weight is int8 with a scale
 * an output channel. Both are defined by their expansion: dequantize, then the float op. Written with QuantizeLinear and
 * DequantizeLinear that is the form that OpenVINO fuses by itself; ONNX Runtime on the CPU has kernels of its own,
 * MatMulIntegerToFloat and QLinearConv. Integers and scales are stored numbers: no gradient flows into them.
 */

import { check } from "../core/assert.ts";
import {
  type Attrs,
  apply,
  type CompositeDef,
  type OnnxEmitter,
  type PrimitiveDef,
  type TensorType,
  type Value,
  whereNow,
} from "../graph/op.ts";
import type { Rounding } from "../tensor/quantized.ts";
import { type Shape, sameShape, show, size } from "../tensor/shape.ts";
import { type ConvOptions, conv, convDef, type WindowAttrs, windowAttributes, windowOf } from "./conv.ts";
import { linear } from "./matmul.ts";
import { constant } from "./source.ts";

const CONTRIB = "com.microsoft";

interface RoundingAttrs extends Attrs {
  readonly scale: number;
  readonly zero: number;
}

const scaleOf = (e: OnnxEmitter, { scale }: Rounding): string =>
  e.constant({ dtype: "float32", shape: [] }, [scale]);
const zeroOf = (e: OnnxEmitter, { zero }: Rounding): string =>
  e.constant({ dtype: "uint8", shape: [] }, [zero]);

/** Ties to even, as ONNX's QuantizeLinear rounds. */
function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** `x` as uint8: round(x / scale) + zero, held within 0 to 255. */
export const quantizeDef: PrimitiveDef<RoundingAttrs> = {
  name: "quantize",
  infer: ([x]) => ({ dtype: "uint8", shape: x!.shape }),
  reference: ([x], { scale, zero }) =>
    x!.data.map((v) => Math.min(255, Math.max(0, roundEven(v / scale) + zero))),
  vjp: () => [null],
  onnx: (e, [x], attrs) => e.node("QuantizeLinear", [x!, scaleOf(e, attrs), zeroOf(e, attrs)]),
  flops: ([x]) => 2 * size(x!.shape),
};
export const quantize = (x: Value, { scale, zero }: Rounding): Value =>
  apply(quantizeDef, [x], { scale, zero });

interface DequantizeAttrs extends Attrs {
  /** Of the integers. */
  readonly zero: number;
}

/** Integers `q` [O, ...] and `scale` [] or [O] → (q − zero) · scale, in float32. */
export const dequantizeDef: PrimitiveDef<DequantizeAttrs> = {
  name: "dequantize",
  infer: ([q, scale]) => {
    const fits = scale!.shape.length === 0 || sameShape(scale!.shape, q!.shape.slice(0, 1));
    check(fits, "E_SHAPE", () => ({
      where: whereNow("dequantize"),
      expected: "[O, ...] and a scale [] or [O]",
      got: `${show(q!.shape)} and ${show(scale!.shape)}`,
    }));
    return { dtype: "float32", shape: q!.shape };
  },
  reference: ([q, scale], { zero }) => {
    const row = q!.data.length / scale!.data.length;
    return q!.data.map((v, i) => (v - zero) * scale!.data[Math.floor(i / row)]!);
  },
  vjp: () => [null, null],
  onnx: (e, [q, scale], { zero }, out, [qType, scaleType]) => {
    if (e.target !== "ort-webgpu") {
      const type = { dtype: qType!.dtype, shape: scaleType!.shape };
      const inputs = zero === 0 ? [q!, scale!] : [q!, scale!, e.constant(type, [zero])];
      return e.node("DequantizeLinear", inputs, { axis: 0n });
    }
    // plain arithmetic, which is folded when the model is loaded: DequantizeLinear never is
    const float = e.cast(q!, "float32");
    const shifted = zero === 0 ? float : e.node("Sub", [float, e.constant(scalarType, [zero])]);
    const spread = [...scaleType!.shape, ...out.shape.slice(1).map(() => 1)];
    const factor = scaleType!.shape.length === 0 ? scale! : e.node("Reshape", [scale!, e.ints(spread)]);
    return e.node("Mul", [shifted, factor]);
  },
  flops: ([q]) => 2 * size(q!.shape),
};
export const dequantize = (q: Value, scale: Value, zero = 0): Value =>
  apply(dequantizeDef, [q, scale], { zero });

const scalarType: TensorType = { dtype: "float32", shape: [] };

const dequantizeRounded = (q: Value, { scale, zero }: Rounding): Value =>
  dequantize(q, constant([], [scale]), zero);

function checkIntegers(op: string, [x, weight, scale, bias]: readonly TensorType[], rank: number): void {
  const [O] = weight!.shape;
  const fits =
    x!.dtype === "uint8" &&
    weight!.dtype === "int8" &&
    weight!.shape.length === rank &&
    sameShape(scale!.shape, [O!]) &&
    (bias === undefined || sameShape(bias.shape, [O!]));
  check(fits, "E_SHAPE", () => ({
    where: whereNow(op),
    expected: `uint8, an int8 weight of rank ${rank}, and a scale and a bias for each of its rows`,
    got: [x, weight, scale, bias].flatMap((t) => (t ? [`${t.dtype} ${show(t.shape)}`] : [])).join(", "),
  }));
}

/** `x` uint8 [..., I], `weight` int8 [O, I], `weightScale` [O], `bias` [O] or none → float32 [..., O]. */
export const integerLinearDef: CompositeDef<RoundingAttrs> = {
  name: "integerLinear",
  infer: (types) => {
    checkIntegers("integerLinear", types, 2);
    const [x, weight] = types;
    return { dtype: "float32", shape: [...x!.shape.slice(0, -1), weight!.shape[0]!] };
  },
  expand: ([x, weight, scale, bias], rounding) =>
    linear(dequantizeRounded(x!, rounding), dequantize(weight!, scale!), bias ?? null),
  onnx: (e, [x, weight, scale, bias], rounding, out, [type]) => {
    if (e.target !== "ort-cpu") return null;
    const columns = e.node("Transpose", [weight!], { perm: [1n, 0n] });
    const rows = e.node("Reshape", [x!, e.ints([-1, type!.shape.at(-1)!])]);
    return e.node("Reshape", [integerProduct(e, rows, columns, scale!, bias, rounding), e.ints(out.shape)]);
  },
  flops: ([x], out) => 2 * size(out.shape) * x!.shape.at(-1)! + size(out.shape),
};
export const integerLinear = (
  x: Value,
  weight: Value,
  weightScale: Value,
  bias: Value | null,
  { scale, zero }: Rounding,
): Value =>
  apply(integerLinearDef, bias === null ? [x, weight, weightScale] : [x, weight, weightScale, bias], {
    scale,
    zero,
  });

/** `rows` uint8 [M, K] · `columns` int8 [K, N] → float32 [M, N]. */
const integerProduct = (
  e: OnnxEmitter,
  rows: string,
  columns: string,
  scale: string,
  bias: string | undefined,
  rounding: Rounding,
): string =>
  e.node(
    "MatMulIntegerToFloat",
    [
      rows,
      columns,
      scaleOf(e, rounding),
      scale,
      zeroOf(e, rounding),
      ...(bias === undefined ? [] : ["", bias]),
    ],
    {},
    CONTRIB,
  );

interface IntegerConvAttrs extends WindowAttrs {
  readonly scale: number;
  readonly zero: number;
  /** Scale and zero that the result is rounded to; empty: not rounded. */
  readonly output: readonly number[];
}

/** `x` uint8 [N, C, H, W], `weight` int8 [O, C, kh, kw], `weightScale` [O], `bias` [O] or none → float32 [N, O, H', W']. */
export const integerConvDef: CompositeDef<IntegerConvAttrs> = {
  name: "integerConv",
  infer: (types, attrs) => {
    checkIntegers("integerConv", types, 4);
    return { dtype: "float32", shape: convDef.infer([types[0]!, types[1]!], attrs).shape };
  },
  expand: ([x, weight, scale, bias], attrs) => {
    const y = conv(
      dequantizeRounded(x!, attrs),
      dequantize(weight!, scale!),
      bias ?? null,
      windowOptions(attrs),
    );
    const output = outputOf(attrs);
    return output === null ? y : dequantizeRounded(quantize(y, output), output);
  },
  onnx: (e, inputs, attrs, out, types) => {
    if (e.target !== "ort-cpu") return null;
    const output = outputOf(attrs);
    return output === null
      ? windowsAsRows(e, inputs, attrs, out, types)
      : wholeConv(e, inputs, attrs, output, types[1]!.shape);
  },
  flops: ([, weight, , bias], out) =>
    2 * size(out.shape) * size(weight!.shape.slice(1)) + (bias ? size(out.shape) : 0),
};

const outputOf = ({ output: [scale, zero] }: IntegerConvAttrs): Rounding | null =>
  scale === undefined || zero === undefined ? null : { scale, zero };

const windowOptions = ({ stride, dilation, pad }: WindowAttrs): ConvOptions => ({
  stride: stride[0]!,
  dilation: dilation[0]!,
  pad: pad as readonly [number, number, number, number],
});

export const integerConv = (
  x: Value,
  weight: Value,
  weightScale: Value,
  bias: Value | null,
  o: ConvOptions & { readonly input: Rounding; readonly output?: Rounding },
): Value =>
  apply(integerConvDef, bias === null ? [x, weight, weightScale] : [x, weight, weightScale, bias], {
    ...windowOf(o),
    ...{ scale: o.input.scale, zero: o.input.zero },
    output: o.output === undefined ? [] : [o.output.scale, o.output.zero],
  });

/** QLinearConv takes the bias as integers in units of input scale · weight scale: its rounding is far below the result's. */
function wholeConv(
  e: OnnxEmitter,
  [x, weight, scale, bias]: readonly string[],
  attrs: IntegerConvAttrs,
  output: Rounding,
  shape: Shape,
): string {
  const units = e.node("Mul", [scale!, scaleOf(e, attrs)]);
  const wholeBias =
    bias === undefined ? [] : [e.cast(e.node("Round", [e.node("Div", [bias, units])]), "int32")];
  const none = e.constant({ dtype: "int8", shape: shape.slice(0, 1) }, [0]);
  const y = e.node(
    "QLinearConv",
    [
      ...[x!, scaleOf(e, attrs), zeroOf(e, attrs), weight!, scale!, none],
      ...[scaleOf(e, output), zeroOf(e, output), ...wholeBias],
    ],
    { ...windowAttributes(attrs), pads: attrs.pad.map(BigInt) },
  );
  return e.node("DequantizeLinear", [y, scaleOf(e, output), zeroOf(e, output)]);
}

/** Each window of the picture, channels last, is a row; ConvInteger gives floats too but at a tenth of the speed. */
function windowsAsRows(
  e: OnnxEmitter,
  [x, weight, scale, bias]: readonly string[],
  attrs: IntegerConvAttrs,
  out: TensorType,
  [xType, wType]: readonly TensorType[],
): string {
  const { stride, dilation, pad } = attrs;
  const [N, C] = xType!.shape as [number, number];
  const [O, , kh, kw] = wType!.shape as [number, number, number, number];
  const [h, w] = out.shape.slice(2) as [number, number];
  const last = e.node("Transpose", [x!], { perm: [0n, 2n, 3n, 1n] });
  const [top, left, bottom, right] = pad as [number, number, number, number];
  const padded = pad.some((n) => n > 0)
    ? e.node("Pad", [last, e.ints([0, top, left, 0, 0, bottom, right, 0]), zeroOf(e, attrs)])
    : last;
  const taps: string[] = [];
  for (let i = 0; i < kh; i++)
    for (let j = 0; j < kw; j++) {
      const [y, z] = [i * dilation[0]!, j * dilation[1]!];
      const end = e.ints([y + (h - 1) * stride[0]! + 1, z + (w - 1) * stride[1]! + 1]);
      taps.push(e.node("Slice", [padded, e.ints([y, z]), end, e.ints([1, 2]), e.ints(stride)]));
    }
  const seen = taps.length === 1 ? taps[0]! : e.node("Concat", taps, { axis: 3n }); // [N, h, w, kh·kw·C]
  const rows = e.node("Reshape", [seen, e.ints([N * h * w, kh * kw * C])]);
  const columns = e.node("Reshape", [
    e.node("Transpose", [weight!], { perm: [2n, 3n, 1n, 0n] }),
    e.ints([kh * kw * C, O]),
  ]);
  const y = e.node("Reshape", [integerProduct(e, rows, columns, scale!, bias, attrs), e.ints([N, h, w, O])]);
  return e.node("Transpose", [y], { perm: [0n, 3n, 1n, 2n] });
}
