/** Normalisation over the last axis and over groups of channels. Statistics want float32 whatever the storage. */

import { check } from "../core/assert.ts";
import {
  type Attrs,
  apply,
  type CompositeDef,
  type OnnxEmitter,
  type TensorType,
  type Value,
  whereNow,
} from "../graph/op.ts";
import { show, size } from "../tensor/shape.ts";
import { add, div, mul, reciprocal, sqrt, square, sub } from "./elementwise.ts";
import { matmul } from "./matmul.ts";
import { mean, sum } from "./reduce.ts";
import { reshape, transpose } from "./shape.ts";
import { constant } from "./source.ts";

/** (x − mean) / √(variance + eps) over `axes`; the variance is that of the population. */
function standardize(x: Value, axes: readonly number[], eps: number): Value {
  const centred = sub(x, mean(x, axes, { keep: true }));
  return div(centred, sqrt(add(mean(square(centred), axes, { keep: true }), eps)));
}

/** What the gradient of a norm needs again: x − mean, and 1 / √(variance + eps). */
function statistics(x: Value, axes: readonly number[], eps: number): { centred: Value; inverse: Value } {
  const centred = sub(x, mean(x, axes, { keep: true }));
  return { centred, inverse: reciprocal(sqrt(add(mean(square(centred), axes, { keep: true }), eps))) };
}

interface LayerNormAttrs extends Attrs {
  readonly eps: number;
}

/** Ba et al. 2016, arXiv:1607.06450. `x` [..., E], `weight` and `bias` [E]. */
export const layerNormDef: CompositeDef<LayerNormAttrs> = {
  name: "layerNorm",
  infer: ([x, weight, bias]) => {
    const width = x!.shape.at(-1);
    check(size(weight!.shape) === width && size(bias!.shape) === width, "E_SHAPE", () => ({
      where: whereNow("layerNorm"),
      expected: `a weight and a bias of ${width}`,
      got: `${show(weight!.shape)} and ${show(bias!.shape)}`,
    }));
    return x!;
  },
  expand: ([x, weight, bias], { eps }) =>
    add(mul(standardize(x!, [x!.shape.length - 1], eps), weight!), bias!),
  /**
   * With c = x − mean, r = 1/σ and E the width: ∂x = r (g w − mean(g w) − c r² mean(g w c)), ∂w = Σ g c r, ∂b = Σ g. Means
   * over a row of products with w are products of a matrix and a vector, which write no array of the size of x.
   */
  vjp: (g, { inputs: [x, weight, bias] }, { eps }) => {
    const width = x!.shape.at(-1)!;
    const rows = (v: Value): Value => reshape(v, [-1, width]); // [R, E]
    const { centred, inverse } = statistics(rows(x!), [1], eps);
    const flat = rows(g);
    const w = reshape(weight!, [width, 1]);
    const product = mul(flat, centred);
    const average = (v: Value): Value => mul(matmul(v, w), 1 / width); // [R, 1]
    const along = mul(average(product), square(inverse));
    const scaled = mul(flat, reshape(weight!, [1, width]));
    const moved = sub(scaled, add(mul(centred, along), average(flat)));
    const ofWeight = matmul(transpose(inverse, [1, 0]), product); // [1, E]
    return [
      reshape(mul(moved, inverse), x!.shape),
      reshape(ofWeight, weight!.shape),
      reshape(sum(flat, [0]), bias!.shape),
    ];
  },
  onnx: (e, inputs, { eps }) => e.node("LayerNormalization", inputs, { axis: -1n, epsilon: eps }),
  flops: (_, out) => 8 * size(out.shape),
};

/** Without `weight` and `bias` the norm has no parameters (`elementwise_affine=False`). */
export function layerNorm(
  x: Value,
  weight: Value | null,
  bias: Value | null,
  o: { readonly eps: number },
): Value {
  const width = [x.shape.at(-1)!];
  return apply(layerNormDef, [x, weight ?? constant(width, [1]), bias ?? constant(width, [0])], {
    eps: o.eps,
  });
}

interface GroupNormAttrs extends Attrs {
  readonly groups: number;
  readonly eps: number;
}

/** Wu and He 2018, arXiv:1803.08494. `x` [N, C, ...], `weight` and `bias` [C]; statistics over a group of C/groups channels. */
export const groupNormDef: CompositeDef<GroupNormAttrs> = {
  name: "groupNorm",
  infer: ([x, weight, bias], { groups }) => {
    const channels = x!.shape[1];
    const fits =
      channels !== undefined &&
      channels % groups === 0 &&
      size(weight!.shape) === channels &&
      size(bias!.shape) === channels;
    check(fits, "E_SHAPE", () => ({
      where: whereNow("groupNorm"),
      expected: `channels that divide into ${groups} groups, with a weight and a bias each`,
      got: `${show(x!.shape)}, ${show(weight!.shape)} and ${show(bias!.shape)}`,
    }));
    return x!;
  },
  expand: ([x, weight, bias], { groups, eps }) => {
    const [N, C, ...rest] = x!.shape as [number, number, ...number[]];
    const grouped = reshape(x!, [N, groups, -1]);
    const normal = reshape(standardize(grouped, [2], eps), x!.shape);
    const perChannel = [1, C, ...rest.map(() => 1)];
    return add(mul(normal, reshape(weight!, perChannel)), reshape(bias!, perChannel));
  },
  /**
   * With c = x − mean, r = 1/σ and M elements a group: ∂x = r w g − c r³ Σ(w g c)/M − r Σ(w g)/M, ∂w = Σ g c r, ∂b = Σ g.
   * All sums are made of those over the cells of one channel of one picture, Σ g and Σ g c.
   */
  vjp: (g, { inputs: [x, weight, bias] }, { groups, eps }) => {
    const [N, C] = x!.shape as [number, number];
    const cells = size(x!.shape) / (N * C);
    const perChannel = (v: Value): Value => reshape(v, [N, groups, C / groups, cells]);
    const { centred, inverse } = statistics(reshape(x!, [N, groups, -1]), [2], eps);
    const [r, c, gs] = [reshape(inverse, [N, groups, 1, 1]), perChannel(centred), perChannel(g)];
    const w = reshape(weight!, [1, groups, C / groups, 1]);
    const sumG = sum(gs, [3], { keep: true }); // [N, G, C/G, 1]
    const sumGC = sum(mul(gs, c), [3], { keep: true });
    const count = (C / groups) * cells;
    const average = (v: Value): Value => mul(sum(mul(v, w), [2], { keep: true }), 1 / count); // [N, G, 1, 1]
    const along = mul(average(sumGC), mul(r, square(r)));
    const moved = sub(mul(gs, mul(w, r)), add(mul(c, along), mul(average(sumG), r)));
    return [
      reshape(moved, x!.shape),
      reshape(sum(mul(sumGC, r), [0]), weight!.shape),
      reshape(sum(sumG, [0]), bias!.shape),
    ];
  },
  onnx: (e, inputs, attrs, out) => {
    switch (e.target) {
      case "ort-cpu":
      case "ort-webgpu":
        return groupNormByInstances(e, inputs, attrs, out);
      case "openvino":
      case "portable":
        return e.node("GroupNormalization", inputs, { num_groups: BigInt(attrs.groups), epsilon: attrs.eps });
    }
  },
  flops: (_, out) => 8 * size(out.shape),
};

/** ONNX Runtime has no GroupNormalization kernel: an instance is a group, and the affine part follows. */
function groupNormByInstances(
  e: OnnxEmitter,
  [x, weight, bias]: readonly string[],
  { groups, eps }: GroupNormAttrs,
  out: TensorType,
): string {
  const [N, C, ...rest] = out.shape as [number, number, ...number[]];
  const perGroup = (value: number): string => e.constant({ dtype: "float32", shape: [groups] }, [value]);
  const grouped = e.node("Reshape", [x!, e.ints([N, groups, -1])]);
  const normal = e.node("InstanceNormalization", [grouped, perGroup(1), perGroup(0)], { epsilon: eps });
  const shaped = e.node("Reshape", [normal, e.ints(out.shape)]);
  const perChannel = e.ints([1, C, ...rest.map(() => 1)]);
  const scaled = e.node("Mul", [shaped, e.node("Reshape", [weight!, perChannel])]);
  return e.node("Add", [scaled, e.node("Reshape", [bias!, perChannel])]);
}

export const groupNorm = (
  x: Value,
  weight: Value,
  bias: Value,
  o: { readonly groups: number; readonly eps: number },
): Value => apply(groupNormDef, [x, weight, bias], { groups: o.groups, eps: o.eps });
