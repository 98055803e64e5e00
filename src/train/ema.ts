/** The moving average of the weights, which is what gets sampled from. Source: diffusers' `EMAModel`. */

import type { Value } from "../graph/op.ts";
import { add, input, mul, sub } from "../ops/index.ts";

/** The graph of one update of `piece` elements: average + (1 − decay) (weight − average), written over the average. */
export function emaUpdate(piece: number): Readonly<Record<string, Value>> {
  const average = input("average", { shape: [piece] });
  const weight = input("weight", { shape: [piece] });
  const rate = input("rate", { shape: [] });
  return { "new.average": add(average, mul(rate, sub(weight, average))) };
}

/** The decay of update `step`, counted from 1: the first copies the weights, later ones grow towards `cap`. */
export function emaDecay(step: number, cap: number): number {
  const s = step - 1;
  return s <= 0 ? 0 : Math.min((1 + s) / (10 + s), cap);
}

/** The input of a graph that is fed the moving average of the weight `name`. */
export const averageOf = (name: string): string => `average.${name}`;
