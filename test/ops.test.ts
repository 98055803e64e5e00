/** Laws of every op in float64: the shape rule tells the truth, and the gradient is that of finite differences. */

import { describe, expect, it } from "vitest";
import { grad } from "../src/autodiff/grad.ts";
import { interpret, type Leaves } from "../src/graph/interpret.ts";
import type { NdArray, Value } from "../src/graph/op.ts";
import { verify } from "../src/graph/verify.ts";
import * as ops from "../src/ops/index.ts";
import { opDefs } from "../src/ops/index.ts";
import { draw, generator, type OpCase, opCases } from "./op-cases.ts";

/** The case's graph with its operands as inputs x0, x1, …, and values for them. */
function instance(c: OpCase, seed: number): { inputs: Value[]; out: Value; leaves: Map<string, NdArray> } {
  const random = generator(seed);
  const inputs = c.inputs.map((shape, i) => ops.input(`x${i}`, { shape }));
  const leaves = new Map(c.inputs.map((shape, i) => [`x${i}`, { shape, data: draw(shape, c.from, random) }]));
  return { inputs, out: c.build(...inputs), leaves };
}

/** `leaves` moved by `h` along `direction`. */
const moved = (leaves: Leaves, direction: ReadonlyMap<string, Float64Array>, h: number): Leaves =>
  new Map(
    [...leaves].map(([name, { shape, data }]) => {
      const along = direction.get(name) as Float64Array;
      return [name, { shape, data: data.map((x, i) => x + h * (along[i] as number)) }];
    }),
  );

const dot = (a: Float64Array, b: Float64Array): number =>
  a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);

describe.each(Object.entries(opCases))("%s", (name, cases) => {
  it.each(cases.map((c, i) => [i, c] as const))("case %i keeps the laws", (i, c) => {
    const { inputs, out, leaves } = instance(c, 1 + i);
    verify([out]);
    const [value] = interpret([out], leaves) as [NdArray];
    expect(value.data.length).toBe(out.shape.reduce((n, d) => n * d, 1));

    const random = generator(100 + i);
    const weights = ops.constant(out.shape, draw(out.shape, undefined, random));
    const loss = ops.sum(
      ops.mul(out, weights),
      out.shape.map((_, axis) => axis),
    );
    const gradients = grad(loss, inputs);
    verify(gradients);
    const direction = new Map([...leaves].map(([leaf, { shape }]) => [leaf, draw(shape, undefined, random)]));
    const slope = interpret(gradients, leaves).reduce(
      (sum, g, k) => sum + dot(g.data, direction.get(`x${k}`) as Float64Array),
      0,
    );
    const h = 1e-5;
    const [ahead] = interpret([loss], moved(leaves, direction, h)) as [NdArray];
    const [behind] = interpret([loss], moved(leaves, direction, -h)) as [NdArray];
    const difference = ((ahead.data[0] as number) - (behind.data[0] as number)) / (2 * h);
    expect(
      Math.abs(slope - difference),
      `${name}: gradient ${slope}, differences ${difference}`,
    ).toBeLessThan(1e-7 * Math.max(1, Math.abs(difference)));
    for (const [k, g] of gradients.entries()) expect(g.shape).toEqual(c.inputs[k]);
  });
});

describe("the table of ops", () => {
  it("names every op by its key", () => {
    for (const [key, def] of Object.entries(opDefs)) expect(def.name).toBe(key);
  });

  it("has a case that uses each op", () => {
    for (const [key, cases] of Object.entries(opCases)) {
      const names = cases.flatMap((c) =>
        namesIn(c.build(...c.inputs.map((shape, i) => ops.input(`x${i}`, { shape })))),
      );
      expect(names, key).toContain(key);
    }
  });

  it("counts two operations for each multiply and add", () => {
    const x = ops.input("x", { shape: [1, 3, 8, 8] });
    const k = ops.input("k", { shape: [4, 3, 3, 3] });
    const y = ops.conv(x, k, null, { pad: 1 });
    expect(y.op.flops([x.type, k.type], y.type, y.attrs)).toBe(2 * 4 * 8 * 8 * 3 * 9);
    const a = ops.input("a", { shape: [2, 5, 7] });
    const b = ops.input("b", { shape: [7, 3] });
    const m = ops.matmul(a, b);
    expect(m.op.flops([a.type, b.type], m.type, m.attrs)).toBe(2 * 2 * 5 * 7 * 3);
  });
});

function namesIn(value: Value): string[] {
  return [value.op.name, ...value.inputs.flatMap(namesIn)];
}

describe("known values", () => {
  const at = (out: Value, leaves: Leaves = new Map()): number[] => [
    ...(interpret([out], leaves)[0] as NdArray).data,
  ];

  it("erf is that of Abramowitz and Stegun, table 7.1", () => {
    const x = ops.constant([4], [0.5, 1, 2, 3]);
    const published = [0.5204998778, 0.8427007929, 0.995322265, 0.9999779095];
    for (const [i, y] of at(ops.erf(x)).entries()) expect(y).toBeCloseTo(published[i] as number, 9);
  });

  it("softmax sums to one", () => {
    const s = ops.softmax(ops.constant([2, 3], [1, 2, 3, -100, 0, 100]), 1);
    for (const y of at(ops.sum(s, [1]))) expect(y).toBeCloseTo(1, 12);
  });

  it("no gradient passes stopGradient", () => {
    const x = ops.input("x", { shape: [2] });
    const [g] = grad(ops.sum(ops.mul(x, ops.stopGradient(x)), [0]), [x]) as [Value];
    expect(at(g, new Map([["x", { shape: [2], data: Float64Array.of(3, 4) }]]))).toEqual([3, 4]); // not 2x
  });

  it("a convolution with a delta moves the picture", () => {
    const picture = ops.constant([1, 1, 2, 3], [1, 2, 3, 4, 5, 6]);
    const delta = ops.constant([1, 1, 3, 3], [0, 0, 0, 1, 0, 0, 0, 0, 0]);
    expect(at(ops.conv(picture, delta, null, { pad: 1 }))).toEqual([0, 1, 2, 0, 4, 5]);
  });

  it("nearest resizing of four rows to seven copies the rows that PyTorch copies", () => {
    const column = ops.constant([1, 1, 4, 1], [0, 1, 2, 3]);
    expect(at(ops.resizeNearest(column, 7, 1))).toEqual([0, 0, 1, 1, 2, 2, 3]);
  });
});

describe("errors", () => {
  const x = ops.input("x", { shape: [2, 3] });

  it.each([
    [
      () => ops.add(x, ops.constant([4], [1])),
      "add: expected shapes that broadcast (axis 1: 3 vs 4), got [2, 3] and [4] [E_SHAPE]",
    ],
    [() => ops.matmul(x, x), "matmul: expected [..., m, k] and [..., k, n], got [2, 3] and [2, 3] [E_SHAPE]"],
    [() => ops.reshape(x, [4, 2]), "reshape: expected 6 elements, as [2, 3] has, got [4, 2] [E_SHAPE]"],
    [
      () => ops.transpose(x, [0]),
      "transpose: expected a permutation of the 2 axes of [2, 3], got [0] [E_SHAPE]",
    ],
    [
      () => ops.slice(x, { axis: 1, start: 2, end: 5 }),
      "slice: expected a range within axis 1 of [2, 3], got 2:5 [E_SHAPE]",
    ],
    [
      () => ops.split(x, 2, 1),
      "split: expected axis 1 of [2, 3] to divide into 2 equal parts, got 3 [E_SHAPE]",
    ],
    [
      () => ops.broadcastTo(x, [3, 3]),
      "broadcastTo: expected a shape that broadcasts to [3, 3], got [2, 3] [E_SHAPE]",
    ],
    [() => ops.sumTo(x, [2, 2]), "sumTo: expected a shape that [2, 2] broadcasts to, got [2, 3] [E_SHAPE]"],
    [() => ops.sum(x, [2]), "sum: expected axes below the rank 2, got 2 [E_SHAPE]"],
    [
      () => ops.pad(x, { before: [1], after: [1] }),
      "pad: expected non-negative widths for each axis of [2, 3], got [1] and [1] [E_SHAPE]",
    ],
    [
      () => ops.concat([x, ops.constant([3, 2], [0])], 0),
      "concat: expected shapes equal but for axis 0, got [2, 3] and [3, 2] [E_SHAPE]",
    ],
    [
      () => ops.gather(x, x),
      "gather: expected a table [V, E] and int64 ids, got [2, 3] and float32 [2, 3] [E_SHAPE]",
    ],
    [
      () => ops.linear(x, x, x),
      "linear: expected [..., I], [O, I] and [O], got [2, 3] and [2, 3] and [2, 3] [E_SHAPE]",
    ],
    [
      () => ops.resizeNearest(x, 4, 4),
      "resizeNearest: expected [N, C, H, W] and a positive height and width, got [2, 3] to 4 x 4 [E_SHAPE]",
    ],
    [
      () => ops.layerNorm(x, x, x, { eps: 1e-5 }),
      "layerNorm: expected a weight and a bias of 3, got [2, 3] and [2, 3] [E_SHAPE]",
    ],
    [
      () => ops.groupNorm(x, x, x, { groups: 2, eps: 1e-5 }),
      "groupNorm: expected channels that divide into 2 groups, with a weight and a bias each, got [2, 3], [2, 3] and [2, 3] [E_SHAPE]",
    ],
    [
      () => ops.attention(x, x, x, { heads: 1 }),
      "attention: expected q [N, S, E] and k, v [N, T, E] with E a multiple of 1 heads, got [2, 3], [2, 3], [2, 3] [E_SHAPE]",
    ],
    [
      () => {
        const q = ops.constant([1, 2, 4], [0]);
        return ops.attention(q, q, q, { heads: 2, mask: ops.constant([1, 1, 2, 3], [0]) });
      },
      "attention: expected a mask that broadcasts to [1, 2, 2, 2], texts, heads and scores, got [1, 1, 2, 3] [E_SHAPE]",
    ],
    [
      () => ops.reshape(x, [4, -1]),
      "reshape: expected a shape whose known axes divide the 6 elements of [2, 3], got [4, -1] [E_SHAPE]",
    ],
    [
      () => ops.conv(x, x, null),
      "conv: expected [N, C, H, W], [O, C, kh, kw] and [O], got [2, 3] and [2, 3] [E_SHAPE]",
    ],
    [
      () => ops.conv(ops.constant([1, 1, 2, 2], [0]), ops.constant([1, 1, 3, 3], [0]), null),
      "conv: expected a picture of at least 3 x 3 with its padding, got 2 x 2 [E_SHAPE]",
    ],
    [
      () =>
        ops.convTranspose(ops.constant([1, 1, 2, 2], [0]), ops.constant([1, 1, 3, 3], [0]), {
          extent: [7, 7],
        }),
      "convTranspose: expected [N, 1, h, w] as a convolution of a 7 x 7 picture with [1, 1, 3, 3] gives, got [1, 1, 2, 2] [E_SHAPE]",
    ],
    [() => grad(x, [x]), "grad: expected a loss of rank 0, got [2, 3] [E_GRAPH]"],
    [
      () => grad(ops.sum(ops.stopGradient(x), [0, 1]), [x]),
      "x: expected a differentiable path to the loss, got none [E_GRAPH]",
    ],
    [() => interpret([x], new Map()), "interpret: expected a value for input x, got none [E_GRAPH]"],
  ])("case %# says what was expected", (build, message) => {
    expect(build).toThrow(message);
  });
});
