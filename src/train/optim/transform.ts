/**
 * Optimizers as data: a list of transforms of the gradient, each a graph with a state of its own (the shape of optax,
 * Babuschkin et al. 2020). What comes out of the last is subtracted from the weight.
 */

import type { TensorType, Value } from "../../graph/op.ts";
import { add, mul } from "../../ops/index.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { Shape } from "../../tensor/shape.ts";

export interface Parts {
  readonly weight: Value;
  /** Of this transform, by the keys of `state`. */
  readonly state: Readonly<Record<string, Value>>;
  /** Of this transform, by the keys of `scalars`, each []. */
  readonly scalars: Readonly<Record<string, Value>>;
}

export interface Transformed {
  readonly update: Value;
  /** The new state, by the keys of the old. */
  readonly state: Readonly<Record<string, Value>>;
}

interface TransformBase {
  /** Unlike any other of its optimizer: it names the state in checkpoints. */
  readonly name: string;
  /** Numbers that change from step to step; `step` counts from 1. Computed in float64, fed as float32. */
  scalars(step: number, rate: number): Readonly<Record<string, number>>;
  apply(update: Value, parts: Parts): Transformed;
}

/** Treats elements, or blocks of them, alike: runs over pieces of all tensors at once. */
export interface ElementTransform extends TransformBase {
  readonly unit: "elements";
  /** `per` elements of the weight share one element of the state. */
  readonly state: Readonly<Record<string, { readonly dtype: DType; readonly per: number }>>;
}

/** Looks at whole tensors: rows, columns, norms. */
export interface TensorTransform extends TransformBase {
  readonly unit: "tensor";
  state(shape: Shape): Readonly<Record<string, TensorType>>;
}

export type Transform = ElementTransform | TensorTransform;

export interface Optimizer {
  readonly name: string;
  readonly transforms: readonly Transform[];
}

const none = (): Record<string, never> => ({});

/** Times the learning rate. */
export const scaleByRate: ElementTransform = {
  name: "rate",
  unit: "elements",
  state: {},
  scalars: (_step, rate) => ({ rate }),
  apply: (update, { scalars }) => ({ update: mul(update, scalars.rate as Value), state: {} }),
};

/** Plus `decay` times the weight: decoupled weight decay, Loshchilov and Hutter 2017, arXiv:1711.05101. */
export const addDecayedWeight = (decay: number): ElementTransform => ({
  name: "decay",
  unit: "elements",
  state: {},
  scalars: none,
  apply: (update, { weight }) => ({ update: add(update, mul(weight, decay)), state: {} }),
});

export interface SgdOptions {
  /** μ of v ← μ v + g; default 0.9. */
  readonly momentum?: number;
  /** Looks ahead by one step of the momentum: g + μ v. */
  readonly isNesterov?: boolean;
  /** Default 0. */
  readonly weightDecay?: number;
}

/** PyTorch's `SGD` without dampening. */
const trace = (momentum: number, isNesterov: boolean): ElementTransform => ({
  name: "momentum",
  unit: "elements",
  state: { velocity: { dtype: "float32", per: 1 } },
  scalars: none,
  apply(update, { state }) {
    const velocity = add(mul(state.velocity as Value, momentum), update);
    return { update: isNesterov ? add(update, mul(velocity, momentum)) : velocity, state: { velocity } };
  },
});

/** Stochastic gradient descent with momentum and decoupled weight decay. */
export function sgd({ momentum = 0.9, isNesterov = false, weightDecay = 0 }: SgdOptions = {}): Optimizer {
  const transforms: Transform[] = momentum === 0 ? [] : [trace(momentum, isNesterov)];
  if (weightDecay !== 0) transforms.push(addDecayedWeight(weightDecay));
  return { name: "sgd", transforms: [...transforms, scaleByRate] };
}
