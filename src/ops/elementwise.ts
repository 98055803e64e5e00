/** Functions of single elements; two operands broadcast as in NumPy. Above each rule its derivative. */

import { type Attrs, apply, type NdArray, type None, type PrimitiveDef, type Value } from "../graph/op.ts";
import type { DType } from "../tensor/dtype.ts";
import { type Shape, size } from "../tensor/shape.ts";
import { broadcastIndex, jointShape, sumTo } from "./broadcast.ts";
import { scalar } from "./source.ts";

type Binary = (a: number, b: number) => number;

/** `f` over broadcast operands. */
function zip([a, b]: readonly NdArray[], out: Shape, f: Binary): Float64Array {
  const i = broadcastIndex(a!.shape, out);
  const j = broadcastIndex(b!.shape, out);
  return Float64Array.from(i, (at, n) => f(a!.data[at]!, b!.data[j[n]!]!));
}

interface BinaryRule {
  readonly name: string;
  readonly onnx: string;
  readonly f: Binary;
  /** Cotangents before they are summed back to the operands' shapes. */
  readonly vjp: (g: Value, a: Value, b: Value, out: Value) => readonly [Value | null, Value | null];
  readonly result?: DType;
}

const binary = ({ name, onnx, f, vjp, result }: BinaryRule): PrimitiveDef<None> => ({
  name,
  infer: ([a, b]) => ({ dtype: result ?? a!.dtype, shape: jointShape(name, a!.shape, b!.shape) }),
  reference: (inputs, _, out) => zip(inputs, out, f),
  vjp: (g, node) => {
    const [a, b] = node.inputs as [Value, Value];
    const [ga, gb] = vjp(g, a, b, node);
    return [ga && sumTo(ga, a.shape), gb && sumTo(gb, b.shape)];
  },
  onnx: (e, inputs) => e.node(onnx, inputs),
  flops: (_, out) => size(out.shape),
});

type Operand = Value | number;
const lift = (x: Operand): Value => (typeof x === "number" ? scalar(x) : x);

const apply2 =
  (def: PrimitiveDef<None>) =>
  (a: Operand, b: Operand): Value =>
    apply(def, [lift(a), lift(b)], {});

export const addDef: PrimitiveDef<None> = binary({
  name: "add",
  onnx: "Add",
  f: (a, b) => a + b,
  vjp: (g) => [g, g],
});
export const subDef: PrimitiveDef<None> = binary({
  name: "sub",
  onnx: "Sub",
  f: (a, b) => a - b,
  vjp: (g) => [g, neg(g)],
});
export const mulDef: PrimitiveDef<None> = binary({
  name: "mul",
  onnx: "Mul",
  f: (a, b) => a * b,
  vjp: (g, a, b) => [mul(g, b), mul(g, a)],
});
/** d(a/b)/db = −(a/b)/b. */
export const divDef: PrimitiveDef<None> = binary({
  name: "div",
  onnx: "Div",
  f: (a, b) => a / b,
  vjp: (g, _a, b, out) => [div(g, b), neg(div(mul(g, out), b))],
});
/** Where both are equal each gets half of the cotangent, as in PyTorch. */
export const maximumDef: PrimitiveDef<None> = binary({
  name: "maximum",
  onnx: "Max",
  f: Math.max,
  vjp: (g, a, b) => splitBy(g, greater(a, b), equal(a, b)),
});
export const minimumDef: PrimitiveDef<None> = binary({
  name: "minimum",
  onnx: "Min",
  f: Math.min,
  vjp: (g, a, b) => splitBy(g, less(a, b), equal(a, b)),
});
export const lessDef: PrimitiveDef<None> = binary({
  name: "less",
  onnx: "Less",
  f: (a, b) => Number(a < b),
  vjp: () => [null, null],
  result: "bool",
});
export const greaterDef: PrimitiveDef<None> = binary({
  name: "greater",
  onnx: "Greater",
  f: (a, b) => Number(a > b),
  vjp: () => [null, null],
  result: "bool",
});
export const equalDef: PrimitiveDef<None> = binary({
  name: "equal",
  onnx: "Equal",
  f: (a, b) => Number(a === b),
  vjp: () => [null, null],
  result: "bool",
});

export const add: (a: Operand, b: Operand) => Value = apply2(addDef);
export const sub: (a: Operand, b: Operand) => Value = apply2(subDef);
export const mul: (a: Operand, b: Operand) => Value = apply2(mulDef);
export const div: (a: Operand, b: Operand) => Value = apply2(divDef);
export const maximum: (a: Operand, b: Operand) => Value = apply2(maximumDef);
export const minimum: (a: Operand, b: Operand) => Value = apply2(minimumDef);
export const less: (a: Operand, b: Operand) => Value = apply2(lessDef);
export const greater: (a: Operand, b: Operand) => Value = apply2(greaterDef);
export const equal: (a: Operand, b: Operand) => Value = apply2(equalDef);

/** The cotangent where the first operand won, where the second did, halves where they tie. */
function splitBy(g: Value, firstWins: Value, tie: Value): [Value, Value] {
  const half = mul(g, 0.5);
  return [where(tie, half, where(firstWins, g, 0)), where(tie, half, where(firstWins, 0, g))];
}

interface UnaryRule {
  readonly name: string;
  readonly onnx: string;
  readonly f: (x: number) => number;
  readonly vjp: (g: Value, x: Value, out: Value) => Value;
  /** Operations an element, where a library function costs more than one. */
  readonly cost?: number;
}

const unary = ({ name, onnx, f, vjp, cost }: UnaryRule): PrimitiveDef<None> => ({
  name,
  infer: ([x]) => x!,
  reference: ([x]) => x!.data.map(f),
  vjp: (g, node) => [vjp(g, node.inputs[0]!, node)],
  onnx: (e, inputs) => e.node(onnx, inputs),
  flops: (_, out) => (cost ?? 1) * size(out.shape),
});

const apply1 =
  (def: PrimitiveDef<None>) =>
  (x: Value): Value =>
    apply(def, [x], {});

export const negDef: PrimitiveDef<None> = unary({
  name: "neg",
  onnx: "Neg",
  f: (x) => -x,
  vjp: (g) => neg(g),
});
/** d|x|/dx = sign x, 0 at 0 as in PyTorch. */
export const absDef: PrimitiveDef<None> = unary({
  name: "abs",
  onnx: "Abs",
  f: Math.abs,
  vjp: (g, x) => where(greater(x, 0), g, where(less(x, 0), neg(g), 0)),
});
export const expDef: PrimitiveDef<None> = unary({
  name: "exp",
  onnx: "Exp",
  f: Math.exp,
  vjp: (g, _x, out) => mul(g, out),
  cost: 4,
});
export const logDef: PrimitiveDef<None> = unary({
  name: "log",
  onnx: "Log",
  f: Math.log,
  vjp: (g, x) => div(g, x),
  cost: 4,
});
/** d√x/dx = 1 / (2√x). */
export const sqrtDef: PrimitiveDef<None> = unary({
  name: "sqrt",
  onnx: "Sqrt",
  f: Math.sqrt,
  vjp: (g, _x, out) => div(mul(g, 0.5), out),
});
/** d(1/x)/dx = −1/x². */
export const reciprocalDef: PrimitiveDef<None> = unary({
  name: "reciprocal",
  onnx: "Reciprocal",
  f: (x) => 1 / x,
  vjp: (g, _x, out) => neg(mul(g, mul(out, out))),
});
/** σ(x) = 1 / (1 + e⁻ˣ).  dσ/dx = σ(1 − σ). */
export const sigmoidDef: PrimitiveDef<None> = unary({
  name: "sigmoid",
  onnx: "Sigmoid",
  f: (x) => 1 / (1 + Math.exp(-x)),
  vjp: (g, _x, s) => mul(g, mul(s, sub(1, s))),
  cost: 4,
});
/** d tanh/dx = 1 − tanh². */
export const tanhDef: PrimitiveDef<None> = unary({
  name: "tanh",
  onnx: "Tanh",
  f: Math.tanh,
  vjp: (g, _x, t) => mul(g, sub(1, mul(t, t))),
  cost: 4,
});
/** d erf/dx = 2/√π · e^(−x²). */
export const erfDef: PrimitiveDef<None> = unary({
  name: "erf",
  onnx: "Erf",
  f: erfOf,
  vjp: (g, x) => mul(g, mul(2 / Math.sqrt(Math.PI), exp(neg(mul(x, x))))),
  cost: 8,
});
export const sinDef: PrimitiveDef<None> = unary({
  name: "sin",
  onnx: "Sin",
  f: Math.sin,
  vjp: (g, x) => mul(g, cos(x)),
  cost: 4,
});
export const cosDef: PrimitiveDef<None> = unary({
  name: "cos",
  onnx: "Cos",
  f: Math.cos,
  vjp: (g, x) => neg(mul(g, sin(x))),
  cost: 4,
});
/** max(x, 0); the derivative at 0 is 0, as in PyTorch. */
export const reluDef: PrimitiveDef<None> = unary({
  name: "relu",
  onnx: "Relu",
  f: (x) => Math.max(x, 0),
  vjp: (g, x) => where(greater(x, 0), g, 0),
});

export const neg: (x: Value) => Value = apply1(negDef);
export const abs: (x: Value) => Value = apply1(absDef);
export const exp: (x: Value) => Value = apply1(expDef);
export const log: (x: Value) => Value = apply1(logDef);
export const sqrt: (x: Value) => Value = apply1(sqrtDef);
export const reciprocal: (x: Value) => Value = apply1(reciprocalDef);
export const sigmoid: (x: Value) => Value = apply1(sigmoidDef);
export const tanh: (x: Value) => Value = apply1(tanhDef);
export const erf: (x: Value) => Value = apply1(erfDef);
export const sin: (x: Value) => Value = apply1(sinDef);
export const cos: (x: Value) => Value = apply1(cosDef);
export const relu: (x: Value) => Value = apply1(reluDef);
export const square = (x: Value): Value => mul(x, x);

/** `a` where the condition holds, else `b`. */
export const whereDef: PrimitiveDef<None> = {
  name: "where",
  infer: ([c, a, b]) => ({
    dtype: a!.dtype,
    shape: jointShape("where", jointShape("where", c!.shape, a!.shape), b!.shape),
  }),
  reference: ([c, a, b], _, out) => {
    const [k, i, j] = [c!, a!, b!].map((x) => broadcastIndex(x.shape, out));
    return Float64Array.from(k!, (at, n) => (c!.data[at] === 0 ? b!.data[j![n]!]! : a!.data[i![n]!]!));
  },
  vjp: (g, { inputs: [c, a, b] }) => [
    null,
    sumTo(where(c!, g, 0), a!.shape),
    sumTo(where(c!, 0, g), b!.shape),
  ],
  onnx: (e, inputs) => e.node("Where", inputs),
  flops: (_, out) => size(out.shape),
};
export const where = (condition: Value, a: Operand, b: Operand): Value =>
  apply(whereDef, [condition, lift(a), lift(b)], {});

interface CastAttrs extends Attrs {
  readonly dtype: DType;
}

const isFloat = (dtype: DType): boolean => dtype.startsWith("float") || dtype === "bfloat16";

/** Another element type; the gradient is cast back between floats, and stops at integers. */
export const castDef: PrimitiveDef<CastAttrs> = {
  name: "cast",
  infer: ([x], { dtype }) => ({ dtype, shape: x!.shape }),
  reference: ([x], { dtype }) =>
    isFloat(dtype) ? x!.data : x!.data.map(dtype === "bool" ? (v) => Number(v !== 0) : Math.trunc),
  vjp: (g, { inputs: [x] }, { dtype }) => [
    isFloat(x!.type.dtype) && isFloat(dtype) ? cast(g, x!.type.dtype) : null,
  ],
  onnx: (e, inputs, _attrs, out) => e.cast(inputs[0]!, out.dtype),
  flops: () => 0,
};
export const cast = (x: Value, dtype: DType): Value =>
  x.type.dtype === dtype ? x : apply(castDef, [x], { dtype });

/**
 * The error function in doubles: its Taylor series near 0, the continued fraction of erfc beyond
 * (Abramowitz and Stegun 7.1.5 and 7.1.14); error below 1e-15.
 */
function erfOf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= -(x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = a;
  for (let n = 60; n >= 1; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (fraction * Math.sqrt(Math.PI)));
}
