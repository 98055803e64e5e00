/**
 * One table of cases for all laws of the ops: `ops.test.ts` holds shape rule, reference and gradient against each
 * other, `ops-engine.test.ts` every engine against the reference. An op without a case does not compile.
 */

import type { Value } from "../src/graph/op.ts";
import type { OpName } from "../src/ops/index.ts";
import * as ops from "../src/ops/index.ts";
import type { Rounding } from "../src/tensor/quantized.ts";
import type { Shape } from "../src/tensor/shape.ts";

export interface OpCase {
  /** Shapes of the float operands. */
  readonly inputs: readonly Shape[];
  readonly build: (...inputs: Value[]) => Value;
  /** Where the operands lie: `kinkless` keeps a distance of 0.1 from 0, `positive` is 0.5 to 2. Default: −1 to 1. */
  readonly from?: "kinkless" | "positive";
  /** Against an engine's float32, relative to the largest element. Default 2e-6. */
  readonly tolerance?: number;
}

type Leaf = "param" | "input";
const x234: readonly Shape[] = [[2, 3, 4]];
/** Stored numbers of the quantized ops: every int8 or uint8, in an order that repeats after none of their shapes. */
const counted = (shape: Shape, dtype: "int8" | "uint8"): Value => {
  const first = dtype === "int8" ? -128 : 0;
  const n = shape.reduce((a, b) => a * b, 1);
  return ops.constant(
    shape,
    Array.from({ length: n }, (_, i) => first + ((i * 167 + 91) % 256)),
    dtype,
  );
};
const integers = (shape: Shape): Value => counted(shape, "int8");
const bytes = (shape: Shape): Value => counted(shape, "uint8");
const scales = (shape: Shape): Value => {
  const n = shape.reduce((a, b) => a * b, 1);
  return ops.constant(
    shape,
    Array.from({ length: n }, (_, i) => (i + 1) / 256),
  );
};
const uint8 = { scale: 1 / 64, zero: 90 };
const step = ops.scalar(uint8.scale);
const nibbles = (columns: number) => ({ bits: 4, block: 32, columns });
const ids = (values: readonly number[]): Value => ops.constant([2, 2], values, "int64");

export const opCases: Readonly<Record<Exclude<OpName, Leaf>, readonly OpCase[]>> = {
  constant: [
    { inputs: [[3]], build: (x) => ops.mul(x, ops.constant([2, 3], [1, 2, 3, 4, 5, 6])) },
    { inputs: [[3]], build: (x) => ops.mul(x, ops.constant([2, 3], [7])) },
  ],
  tap: [{ inputs: x234, build: (x) => ops.tap("here", ops.neg(x)) }],
  // a step is locally constant, so that stopping its gradient agrees with differences
  stopGradient: [
    {
      inputs: [[3]],
      from: "kinkless",
      build: (a) => ops.mul(a, ops.stopGradient(ops.where(ops.greater(a, 0), 2, 3))),
    },
  ],
  add: [
    {
      inputs: [
        [2, 1],
        [1, 3],
      ],
      build: (a, b) => ops.add(a, b),
    },
    { inputs: [[2, 3], [3]], build: (a, b) => ops.add(a, b) },
    { inputs: [[2, 3]], build: (a) => ops.add(1.5, ops.add(a, a)) },
  ],
  sub: [
    {
      inputs: [
        [2, 1],
        [1, 3],
      ],
      build: (a, b) => ops.sub(a, b),
    },
  ],
  mul: [
    {
      inputs: [
        [2, 1],
        [1, 3],
      ],
      build: (a, b) => ops.mul(a, b),
    },
    { inputs: [[4]], build: (a) => ops.mul(a, a) },
  ],
  div: [
    {
      inputs: [
        [2, 1],
        [1, 3],
      ],
      from: "positive",
      build: (a, b) => ops.div(a, b),
    },
  ],
  maximum: [{ inputs: [[2, 3], [3]], build: (a, b) => ops.maximum(a, b) }],
  minimum: [{ inputs: [[2, 3], [3]], build: (a, b) => ops.minimum(a, b) }],
  less: [
    { inputs: [[2, 3]], from: "kinkless", build: (a) => ops.mul(a, ops.cast(ops.less(a, 0), "float32")) },
  ],
  greater: [
    { inputs: [[2, 3]], from: "kinkless", build: (a) => ops.mul(a, ops.cast(ops.greater(a, 0), "float32")) },
  ],
  equal: [{ inputs: [[2, 3]], build: (a) => ops.mul(a, ops.cast(ops.equal(a, a), "float32")) }],
  where: [
    {
      inputs: [[2, 3], [3], [2, 1]],
      from: "kinkless",
      build: (a, b, c) => ops.add(a, ops.where(ops.greater(a, 0), b, c)),
    },
  ],
  cast: [
    {
      inputs: [[2, 3]],
      build: (a) => ops.mul(a, ops.cast(ops.cast(ops.mul(a, 4), "int64"), "float32")),
      from: "kinkless",
    },
  ],
  neg: [{ inputs: x234, build: ops.neg }],
  abs: [{ inputs: x234, from: "kinkless", build: ops.abs }],
  exp: [{ inputs: x234, build: ops.exp }],
  log: [{ inputs: x234, from: "positive", build: ops.log }],
  sqrt: [{ inputs: x234, from: "positive", build: ops.sqrt }],
  reciprocal: [{ inputs: x234, from: "positive", build: ops.reciprocal }],
  sigmoid: [{ inputs: x234, build: ops.sigmoid }],
  tanh: [{ inputs: x234, build: ops.tanh }],
  erf: [
    { inputs: x234, build: ops.erf },
    { inputs: [[9]], build: (x) => ops.erf(ops.mul(x, 4)) },
  ],
  sin: [{ inputs: x234, build: ops.sin }],
  cos: [{ inputs: x234, build: ops.cos }],
  relu: [{ inputs: x234, from: "kinkless", build: ops.relu }],
  broadcastTo: [{ inputs: [[3, 1]], build: (x) => ops.broadcastTo(x, [2, 3, 4]) }],
  sumTo: [
    { inputs: x234, build: (x) => ops.sumTo(x, [3, 1]) },
    { inputs: x234, build: (x) => ops.sum(x, [0, 2]) },
    { inputs: x234, build: (x) => ops.sum(x, [-1], { keep: true }) },
  ],
  mean: [{ inputs: x234, build: (x) => ops.mean(x, [1, 2]) }],
  max: [{ inputs: x234, build: (x) => ops.max(x, [1]) }],
  reshape: [{ inputs: x234, build: (x) => ops.reshape(x, [4, -1]) }],
  transpose: [
    { inputs: x234, build: (x) => ops.transpose(x, [2, 0, 1]) },
    { inputs: [[2, 3, 4, 5]], build: (x) => ops.transpose(x, [0, 2, 1, 3]) },
  ],
  slice: [
    { inputs: x234, build: (x) => ops.slice(x, { axis: -1, start: 1, end: 3 }) },
    { inputs: x234, build: (x) => ops.mul(...(ops.split(x, 2, 2) as [Value, Value])) },
  ],
  pad: [{ inputs: x234, build: (x) => ops.pad(x, { before: [0, 1, 0], after: [2, 0, 1] }) }],
  concat: [
    {
      inputs: [
        [2, 3],
        [2, 1],
      ],
      build: (a, b) => ops.concat([a, b, a], 1),
    },
  ],
  gather: [{ inputs: [[5, 3]], build: (table) => ops.gather(table, ids([4, 0, 4, 2])) }],
  scatterAdd: [{ inputs: [[2, 2, 3]], build: (g) => ops.scatterAdd(g, ids([4, 0, 4, 2]), 5) }],
  matmul: [
    {
      inputs: [
        [2, 3],
        [3, 4],
      ],
      build: (a, b) => ops.matmul(a, b),
    },
    {
      inputs: [
        [2, 1, 3, 4],
        [5, 4, 2],
      ],
      build: (a, b) => ops.matmul(a, b),
    },
  ],
  linear: [
    { inputs: [[2, 3, 4], [5, 4], [5]], build: (x, w, b) => ops.linear(x, w, b) },
    {
      inputs: [
        [3, 4],
        [5, 4],
      ],
      build: (x, w) => ops.linear(x, w, null),
    },
  ],
  conv: [
    { inputs: [[2, 3, 5, 6], [4, 3, 3, 3], [4]], build: (x, w, b) => ops.conv(x, w, b, { pad: 1 }) },
    {
      inputs: [
        [1, 2, 5, 6],
        [3, 2, 3, 3],
      ],
      build: (x, w) => ops.conv(x, w, null, { pad: 1, stride: 2 }),
    },
    {
      inputs: [
        [1, 2, 6, 5],
        [3, 2, 3, 3],
      ],
      build: (x, w) => ops.conv(x, w, null, { pad: [0, 0, 1, 1], stride: 2 }),
    },
    {
      inputs: [
        [1, 2, 7, 8],
        [3, 2, 2, 3],
      ],
      build: (x, w) => ops.conv(x, w, null, { dilation: 2, pad: 1 }),
    },
    { inputs: [[2, 3, 4, 4], [4, 3, 1, 1], [4]], build: (x, w, b) => ops.conv(x, w, b) },
  ],
  convTranspose: [
    {
      inputs: [
        [2, 3, 4, 3],
        [3, 2, 3, 3],
      ],
      build: (g, w) => ops.convTranspose(g, w, { stride: 2, pad: 1 }),
    },
    {
      inputs: [
        [1, 3, 3, 3],
        [3, 2, 3, 3],
      ],
      build: (g, w) => ops.convTranspose(g, w, { stride: 2, pad: 1, extent: [6, 5] }),
    },
    {
      inputs: [
        [2, 3, 4, 3],
        [3, 2, 2, 3],
      ],
      build: (g, w) => ops.convTranspose(g, w, { pad: [1, 0, 0, 2], dilation: 2 }),
    },
  ],
  convWeightGrad: [
    {
      inputs: [
        [2, 3, 5, 6],
        [4, 3, 3, 3],
      ],
      build: (x, w) => squaredGradient(x, w, (a, b) => ops.conv(a, b, null, { pad: 1, stride: 2 })),
    },
    {
      inputs: [
        [2, 3, 6, 5],
        [4, 3, 3, 2],
      ],
      build: (x, w) =>
        squaredGradient(x, w, (a, b) => ops.conv(a, b, null, { pad: [0, 1, 1, 0], dilation: 2 })),
    },
  ],
  resizeNearest: [
    { inputs: [[2, 3, 2, 3]], build: (x) => ops.resizeNearest(x, 4, 6) },
    { inputs: [[1, 2, 4, 3]], build: (x) => ops.resizeNearest(x, 7, 5) },
  ],
  softmax: [
    { inputs: x234, build: (x) => ops.softmax(x, -1) },
    { inputs: x234, build: (x) => ops.softmax(ops.mul(x, 30), 1), tolerance: 1e-5 }, // large scores: exp loses digits
  ],
  gelu: [
    { inputs: x234, build: (x) => ops.gelu(ops.mul(x, 3)) },
    { inputs: x234, build: (x) => ops.gelu(ops.mul(x, 3), { approximate: "tanh" }) },
  ],
  swish: [
    { inputs: x234, build: (x) => ops.silu(ops.mul(x, 3)) },
    { inputs: x234, build: (x) => ops.quickGelu(ops.mul(x, 3)) },
  ],
  clamp: [{ inputs: x234, from: "kinkless", build: (x) => ops.clamp(x, -0.05, 0.05) }],
  layerNorm: [
    {
      inputs: [[2, 3, 8], [8], [8]],
      build: (x, w, b) => ops.layerNorm(x, w, b, { eps: 1e-5 }),
      tolerance: 1e-5,
    },
    { inputs: [[2, 3, 8]], build: (x) => ops.layerNorm(x, null, null, { eps: 1e-6 }), tolerance: 1e-5 },
  ],
  groupNorm: [
    {
      inputs: [[2, 6, 3, 4], [6], [6]],
      build: (x, w, b) => ops.groupNorm(x, w, b, { groups: 3, eps: 1e-5 }),
      tolerance: 1e-5,
    },
    {
      inputs: [[2, 6, 5], [6], [6]],
      build: (x, w, b) => ops.groupNorm(x, w, b, { groups: 2, eps: 1e-6 }),
      tolerance: 1e-5,
    },
  ],
  attention: [
    {
      inputs: [
        [2, 5, 8],
        [2, 3, 8],
        [2, 3, 8],
      ],
      build: (q, k, v) => ops.attention(q, k, v, { heads: 2 }),
    },
    {
      inputs: [
        [2, 3, 8],
        [2, 3, 8],
        [2, 3, 8],
      ],
      build: (q, k, v) => {
        const causal = ops.constant([1, 1, 3, 3], [0, -1e4, -1e4, 0, 0, -1e4, 0, 0, 0]);
        return ops.attention(q, k, v, { heads: 4, mask: causal });
      },
    },
    { inputs: [[1, 4, 6]], build: (x) => ops.attention(x, x, x, { heads: 3 }) },
    // masks that broadcast: of keys, of each text's or head's keys, of scores without texts and heads
    ...[
      [1, 1, 1, 3],
      [2, 1, 1, 3],
      [1, 2, 1, 3],
      [5, 3],
    ].map((mask) => ({
      inputs: [[2, 5, 8], [2, 3, 8], mask],
      build: (q: Value, k: Value, m: Value) => ops.attention(q, k, k, { heads: 2, mask: m }),
    })),
  ],
  // a step is locally constant: no gradient flows through the integers, and differences agree
  quantize: [
    { inputs: x234, build: (x) => ops.mul(x, ops.dequantize(ops.quantize(x, uint8), step, uint8.zero)) },
    // beyond the range of the integers
    { inputs: x234, build: (x) => ops.mul(x, ops.dequantize(ops.quantize(ops.mul(x, 9), uint8), step, 90)) },
  ],
  dequantize: [
    {
      inputs: x234,
      build: (x) => ops.add(x, ops.dequantize(integers([2, 3, 4]), ops.constant([2], [0.5, 2]))),
    },
    { inputs: x234, build: (x) => ops.mul(x, ops.dequantize(ops.quantize(x, uint8), step, 90)) },
  ],
  integerLinear: [
    {
      inputs: [[2, 3, 8], [5]],
      build: (x, b) =>
        alive(x, ops.integerLinear(ops.quantize(x, uint8), integers([5, 8]), scales([5]), b, uint8)),
    },
    {
      inputs: [[3, 8]],
      build: (x) =>
        alive(x, ops.integerLinear(ops.quantize(x, uint8), integers([5, 8]), scales([5]), null, uint8)),
    },
  ],
  integerConv: [
    { inputs: [[2, 3, 5, 6], [4]], build: (x, b) => rounded(x, [4, 3, 3, 3], b, { pad: 1 }) },
    {
      inputs: [[1, 3, 6, 5], [4]],
      build: (x, b) => rounded(x, [4, 3, 3, 2], b, { stride: 2, pad: [0, 0, 1, 1] }),
    },
    { inputs: [[2, 3, 4, 4], [4]], build: (x, b) => rounded(x, [4, 3, 1, 1], b, {}) },
    {
      inputs: [[2, 3, 5, 6]],
      build: (x) =>
        rounded(x, [4, 3, 3, 3], ops.constant([4], [0.5, 1, 0, -2]), {
          ...{ pad: 1, stride: 2, output: { scale: 0.25, zero: 120 } },
        }),
    },
  ],
  dequantizeBlocks: [
    {
      inputs: [[3, 40]],
      build: (x) => ops.mul(x, ops.dequantizeBlocks(bytes([3, 2, 16]), scales([3, 2]), nibbles(40))),
    },
    {
      inputs: [[2, 32]],
      build: (x) =>
        ops.mul(
          x,
          ops.dequantizeBlocks(bytes([2, 2, 16]), scales([2, 2]), { bits: 8, block: 16, columns: 32 }),
        ),
    },
  ],
  // the kernel of ONNX Runtime rounds x to int8 too, in blocks: half of 1/127 of the largest of each, summed over the row
  blockLinear: [
    {
      inputs: [[2, 3, 64], [5]],
      build: (x, b) => ops.blockLinear(x, bytes([5, 2, 16]), scales([5, 2]), b, { bits: 4, block: 32 }),
      tolerance: 1e-2,
    },
    {
      inputs: [[3, 40]],
      build: (x) => ops.blockLinear(x, bytes([6, 2, 32]), scales([6, 2]), null, { bits: 8, block: 32 }),
      tolerance: 1e-2,
    },
  ],
};

/** `y` with a path for the gradient of `x`, which none takes through integers. */
const alive = (x: Value, y: Value): Value =>
  ops.add(
    y,
    ops.mean(
      x,
      x.shape.map((_, axis) => axis),
    ),
  );

const rounded = (
  x: Value,
  weight: Shape,
  bias: Value,
  o: ops.ConvOptions & { readonly output?: Rounding },
): Value => {
  const q = ops.quantize(x, uint8);
  return alive(
    x,
    ops.integerConv(q, integers(weight), scales(weight.slice(0, 1)), bias, { ...o, input: uint8 }),
  );
};

/** The weight gradient of a convolution as a function of its own, so that its reference and second derivative are tested. */
function squaredGradient(x: Value, w: Value, convolve: (x: Value, w: Value) => Value): Value {
  const y = convolve(x, w);
  return y.op.name === "conv" && "vjp" in y.op ? (y.op.vjp!(y, y, y.attrs)[1] as Value) : y;
}

/** Seeded numbers where the case wants them. */
export function draw(shape: Shape, from: OpCase["from"], random: () => number): Float64Array {
  return Float64Array.from({ length: shape.reduce((n, d) => n * d, 1) }, () => {
    const u = 2 * random() - 1;
    if (from === "positive") return 1.25 + 0.75 * u;
    return from === "kinkless" ? u + 0.1 * Math.sign(u) : u;
  });
}

/** Mulberry32: a small seeded generator, good enough to draw test values. */
export function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
