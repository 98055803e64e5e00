/**
 * Muon: momentum whose matrices are made orthogonal, so that a step moves a layer as much in every direction as in the one in
 * which most gradients lie. Sources: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; Liu et al. 2025,
 * arXiv:2502.16982 (the size of a step, decay); PyTorch's `Muon`. What is no layer between hidden values moves by AdamW.
 */

import type { TensorType, Value } from "../../graph/op.ts";
import { add, div, matmul, maximum, mul, reshape, sqrt, square, sumTo, transpose } from "../../ops/index.ts";
import { type Shape, size } from "../../tensor/shape.ts";
import { type AdamOptions, scaleByAdam } from "./adam.ts";
import {
  addDecayedWeight,
  type ElementTransform,
  type Optimizer,
  scaleByRate,
  type TensorTransform,
} from "./transform.ts";

export interface MuonOptions {
  /** Share of the momentum that stays; default 0.95. */
  readonly momentum?: number;
  /** Default 0.1. */
  readonly weightDecay?: number;
  /** Of what moves by AdamW. */
  readonly adam?: Omit<AdamOptions, "weightDecay">;
}

/** Jordan's quintic a x + b x³ + c x⁵ takes singular values in 5 steps near 1; 1e-7 is the least norm that it divides by. */
const [A, B, C] = [3.4445, -4.775, 2.0315];
const ITERATIONS = 5;
const LEAST_NORM = 1e-7;

/** Liu et al., equation 4: a step's root mean square is then about AdamW's, whose rates and decays serve. */
const ADAM_LIKE = 0.2;

/** Fewer channels than that are latents or pixels: the first layer and the last. */
const LEAST_CHANNELS = 16;
/** A matrix so much longer than wide is a table, such as a vocabulary's; a feed-forward layer's are at most 8 times. */
const LONGEST = 16;

/** Whether a weight [out, in, ..] is a layer between hidden values. */
function isHidden(shape: Shape): boolean {
  const [out = 0, channels = 0] = shape;
  return (
    shape.length >= 2 &&
    Math.min(out, channels) >= LEAST_CHANNELS &&
    Math.max(out, channels) <= LONGEST * Math.min(out, channels)
  );
}

/** The orthogonal matrix nearest to `g` [m, n], about: its singular values come to lie between 0.5 and 1.5. */
function orthogonal(g: Value): Value {
  const [rows = 0, columns = 0] = g.shape;
  const flip = (x: Value): Value => (rows > columns ? transpose(x, [1, 0]) : x); // the smaller of x xᵀ and xᵀ x
  const norm = sqrt(sumTo(square(g), [1, 1]));
  let x = flip(div(g, maximum(norm, LEAST_NORM)));
  for (let i = 0; i < ITERATIONS; i++) {
    const gram = matmul(x, transpose(x, [1, 0]));
    x = add(mul(x, A), matmul(add(mul(gram, B), mul(matmul(gram, gram), C)), x));
  }
  return flip(x);
}

const float = (shape: Shape): TensorType => ({ dtype: "float32", shape });

const orthogonalize = (momentum: number, adam: ElementTransform): TensorTransform => ({
  name: "muon",
  unit: "tensor",
  state: (shape) =>
    isHidden(shape) ? { velocity: float(shape) } : { mean: float(shape), square: float(shape) },
  scalars: adam.scalars,
  apply(g, parts) {
    if (!isHidden(g.shape)) return adam.apply(g, parts);
    const velocity = add(mul(parts.state.velocity as Value, momentum), mul(g, 1 - momentum));
    const ahead = add(mul(velocity, momentum), mul(g, 1 - momentum)); // Nesterov's
    const rows = g.shape[0] ?? 1;
    const matrix = reshape(ahead, [rows, size(g.shape) / rows]);
    const length = ADAM_LIKE * Math.sqrt(Math.max(...matrix.shape));
    return { update: mul(reshape(orthogonal(matrix), g.shape), length), state: { velocity } };
  },
});

/** PyTorch's `Muon` with `match_rms_adamw`, in float32, for matrices and convolutions alike. */
export function muon({ momentum = 0.95, weightDecay = 0.1, adam = {} }: MuonOptions = {}): Optimizer {
  const { beta1 = 0.9, beta2 = 0.999, eps = 1e-8 } = adam;
  const direction = orthogonalize(momentum, scaleByAdam(beta1, beta2, eps));
  return { name: "muon", transforms: [direction, addDecayedWeight(weightDecay), scaleByRate] };
}
