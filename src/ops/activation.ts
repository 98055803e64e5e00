/** Softmax and the gates between layers: composites that most targets have a kernel for. */

import { type Attrs, apply, type CompositeDef, type Value } from "../graph/op.ts";
import { size, wrapAxis } from "../tensor/shape.ts";
import { add, div, erf, exp, maximum, minimum, mul, sigmoid, sub, tanh } from "./elementwise.ts";
import { max, sum } from "./reduce.ts";
import { stopGradient } from "./source.ts";

interface AxisAttrs extends Attrs {
  readonly axis: number;
}

/** exp(x − max) / Σ exp(x − max): the maximum cancels, and keeps exp from overflowing. */
export const softmaxDef: CompositeDef<AxisAttrs> = {
  name: "softmax",
  infer: ([x]) => x!,
  expand: ([x], { axis }) => {
    const e = exp(sub(x!, stopGradient(max(x!, [axis], { keep: true }))));
    return div(e, sum(e, [axis], { keep: true }));
  },
  /** With s the result: s (g − Σ g s). */
  vjp: (g, s, { axis }) => {
    const gs = mul(g, s);
    return [sub(gs, mul(s, sum(gs, [axis], { keep: true })))];
  },
  onnx: (e, inputs, { axis }) => e.node("Softmax", inputs, { axis: BigInt(axis) }),
  flops: (_, out) => 7 * size(out.shape),
};
export const softmax = (x: Value, axis: number): Value =>
  apply(softmaxDef, [x], { axis: wrapAxis(axis, x.shape.length) });

interface GeluAttrs extends Attrs {
  /** PyTorch's name: `none` is x Φ(x), `tanh` its approximation. */
  readonly approximate: "none" | "tanh";
}

/** Hendrycks and Gimpel 2016, arXiv:1606.08415: x Φ(x), or ½x (1 + tanh(√(2/π) (x + 0.044715 x³))). */
export const geluDef: CompositeDef<GeluAttrs> = {
  name: "gelu",
  infer: ([x]) => x!,
  expand: ([x], { approximate }) => {
    const half = mul(x!, 0.5);
    if (approximate === "none") return mul(half, add(1, erf(mul(x!, Math.SQRT1_2))));
    const cubic = add(x!, mul(0.044715, mul(x!, mul(x!, x!))));
    return mul(half, add(1, tanh(mul(Math.sqrt(2 / Math.PI), cubic))));
  },
  /** Of the exact one, with u = x/√2: ½ + ½ erf u + u e^(−u²)/√π. */
  vjp: (g, { inputs: [x] }, { approximate }) => {
    if (approximate === "tanh") return [mul(g, tanhGeluSlope(x!))];
    const u = mul(x!, Math.SQRT1_2);
    const bell = exp(sub(-0.5 * Math.log(Math.PI), mul(u, u)));
    return [mul(g, add(add(mul(erf(u), 0.5), 0.5), mul(u, bell)))];
  },
  onnx: (e, inputs, { approximate }) =>
    e.target === "ort-cpu" && approximate === "none"
      ? e.node("Gelu", inputs, {}, "com.microsoft")
      : e.node("Gelu", inputs, { approximate }),
  flops: (_, out) => 12 * size(out.shape),
};

/** With t = tanh(√(2/π) (x + 0.044715 x³)): ½ (1 + t) + ½ x (1 − t²) √(2/π) (1 + 0.134145 x²). */
function tanhGeluSlope(x: Value): Value {
  const k = Math.sqrt(2 / Math.PI);
  const squared = mul(x, x);
  const t = tanh(mul(x, add(k, mul(k * 0.044715, squared))));
  const inner = mul(mul(x, 0.5), add(k, mul(3 * k * 0.044715, squared)));
  return add(add(mul(t, 0.5), 0.5), mul(sub(1, mul(t, t)), inner));
}

export const gelu = (x: Value, o: { readonly approximate?: "none" | "tanh" } = {}): Value =>
  apply(geluDef, [x], { approximate: o.approximate ?? "none" });

interface SwishAttrs extends Attrs {
  /** β of x σ(βx). */
  readonly beta: number;
}

/** x σ(βx): SiLU with β = 1, OpenAI CLIP's quick GELU with β = 1.702. Microsoft's kernel of the name QuickGelu takes any β. */
export const swishDef: CompositeDef<SwishAttrs> = {
  name: "swish",
  infer: ([x]) => x!,
  expand: ([x], { beta }) => mul(x!, sigmoid(beta === 1 ? x! : mul(x!, beta))),
  /** With y the result and s = σ(βx): s (1 − βy) + βy. */
  vjp: (g, y, { beta }) => {
    const [x] = y.inputs as [Value];
    const [inner, scaled] = beta === 1 ? [x, y] : [mul(x, beta), mul(y, beta)];
    return [mul(g, add(mul(sigmoid(inner), sub(1, scaled)), scaled))];
  },
  onnx: (e, inputs, { beta }) =>
    e.target === "ort-cpu" || e.target === "ort-webgpu"
      ? e.node("QuickGelu", inputs, { alpha: beta }, "com.microsoft")
      : null,
  flops: (_, out) => 6 * size(out.shape),
};
export const silu = (x: Value): Value => apply(swishDef, [x], { beta: 1 });
/** transformers' `quick_gelu`. */
export const quickGelu = (x: Value): Value => apply(swishDef, [x], { beta: 1.702 });

interface ClampAttrs extends Attrs {
  readonly low: number;
  readonly high: number;
}

export const clampDef: CompositeDef<ClampAttrs> = {
  name: "clamp",
  infer: ([x]) => x!,
  expand: ([x], { low, high }) => minimum(maximum(x!, low), high),
  onnx: (e, [x], { low, high }, out) => {
    const bound = (v: number): string => e.constant({ dtype: out.dtype, shape: [] }, [v]);
    return e.node("Clip", [x!, bound(low), bound(high)]);
  },
  flops: (_, out) => 2 * size(out.shape),
};
export const clamp = (x: Value, low: number, high: number): Value => apply(clampDef, [x], { low, high });
