/**
 * Adafactor: the mean square of a matrix kept as that of its rows and columns.
 * Source: Shazeer and Stern 2018, arXiv:1804.04235; numbers and order as transformers' `Adafactor`, without its first moment.
 */

import type { Value } from "../../graph/op.ts";
import { add, div, maximum, mean, mul, reshape, sqrt, square } from "../../ops/index.ts";
import type { Shape } from "../../tensor/shape.ts";
import { addDecayedWeight, type Optimizer, scaleByRate, type TensorTransform } from "./transform.ts";

export interface AdafactorOptions {
  /** Exponent c of the decay 1 − stepᶜ; default −0.8. */
  readonly decayRate?: number;
  /** Added to the squared gradient; default 1e-30. */
  readonly eps?: number;
  /** The root mean square above which an update is scaled down to it; default 1. */
  readonly clipThreshold?: number;
  /** Steps in units of each tensor's root mean square, at least 1e-3: use with `relativeRate`. Default false. */
  readonly isRelative?: boolean;
  /** Default 0. */
  readonly weightDecay?: number;
}

/** transformers' `eps[1]`: the least scale of a parameter. */
const LEAST_SCALE = 1e-3;

const allAxes = (x: Value): number[] => x.shape.map((_, axis) => axis);
const rms = (x: Value): Value => sqrt(mean(square(x), allAxes(x)));
const isFactored = (shape: Shape): boolean => shape.length >= 2;

const scaleByFactoredRms = (decayRate: number, eps: number): TensorTransform => ({
  name: "adafactor",
  unit: "tensor",
  state: (shape) => {
    const float = (s: Shape) => ({ dtype: "float32" as const, shape: s });
    if (!isFactored(shape)) return { square: float(shape) };
    return { row: float(shape.slice(0, -1)), column: float([...shape.slice(0, -2), ...shape.slice(-1)]) };
  },
  scalars: (step) => ({ fresh: step ** decayRate, kept: 1 - step ** decayRate }),
  apply(g, { state, scalars }) {
    const squares = add(square(g), eps);
    const blend = (old: Value, now: Value): Value =>
      add(mul(old, scalars.kept as Value), mul(now, scalars.fresh as Value));
    if (!isFactored(g.shape)) {
      const next = blend(state.square as Value, squares);
      return { update: div(g, sqrt(next)), state: { square: next } };
    }
    const row = blend(state.row as Value, mean(squares, [-1])); // [.., R]
    const column = blend(state.column as Value, mean(squares, [-2])); // [.., C]
    const ofRow = sqrt(div(row, mean(row, [-1], { keep: true })));
    const ofColumn = sqrt(column);
    const [rowShape, columnShape] = [row.shape, column.shape];
    const byRow = div(g, reshape(ofRow, [...rowShape, 1]));
    const byBoth = div(byRow, reshape(ofColumn, [...columnShape.slice(0, -1), 1, columnShape.at(-1) ?? 1]));
    return { update: byBoth, state: { row, column } };
  },
});

const clipByRms = (threshold: number): TensorTransform => ({
  name: "clip",
  unit: "tensor",
  state: () => ({}),
  scalars: () => ({}),
  apply: (u) => ({ update: div(u, maximum(mul(rms(u), 1 / threshold), 1)), state: {} }),
});

const scaleByWeight: TensorTransform = {
  name: "relative",
  unit: "tensor",
  state: () => ({}),
  scalars: () => ({}),
  apply: (u, { weight }) => ({ update: mul(u, maximum(rms(weight), LEAST_SCALE)), state: {} }),
};

export function adafactor({
  decayRate = -0.8,
  eps = 1e-30,
  clipThreshold = 1,
  isRelative = false,
  weightDecay = 0,
}: AdafactorOptions = {}): Optimizer {
  const transforms = [
    scaleByFactoredRms(decayRate, eps),
    clipByRms(clipThreshold),
    ...(weightDecay === 0 ? [] : [addDecayedWeight(weightDecay)]),
    ...(isRelative ? [scaleByWeight] : []),
    scaleByRate,
  ];
  return { name: "adafactor", transforms };
}
