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
import { add, div, mul, sqrt, square, sub } from "./elementwise.ts";
import { mean } from "./reduce.ts";
import { reshape } from "./shape.ts";
import { constant } from "./source.ts";

/** (x − mean) / √(variance + eps) over `axes`; the variance is that of the population. */
function standardize(x: Value, axes: readonly number[], eps: number): Value {
  const centred = sub(x, mean(x, axes, { keep: true }));
  return div(centred, sqrt(add(mean(square(centred), axes, { keep: true }), eps)));
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
