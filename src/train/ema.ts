/** The moving average of the weights, which is what gets sampled from. Source: diffusers' `EMAModel`. */

import type { Value } from "../graph/op.ts";
import { add, cast, input, mul, sub } from "../ops/index.ts";
import { ditheredFloat16 } from "./dither.ts";

/** How the average is kept. */
export const averageDtypes = ["float32", "float16"] as const;
export type AverageDtype = (typeof averageDtypes)[number];

/**
 * The graph of one update of `piece` elements: average + (1 − decay) (weight − average), written over the average. One in
 * float16 is rounded by `dither`: a step takes 1e-3 or 1e-4 of the difference, less than its last bit.
 */
export function emaUpdate(piece: number, dtype: AverageDtype = "float32"): Readonly<Record<string, Value>> {
  const kept = input("average", { dtype, shape: [piece] });
  const average = dtype === "float32" ? kept : cast(kept, "float32");
  const weight = input("weight", { shape: [piece] });
  const rate = input("rate", { shape: [] });
  const next = add(average, mul(rate, sub(weight, average)));
  const dithered = (): Value => ditheredFloat16(next, input("dither", { shape: [] }));
  return { "new.average": dtype === "float32" ? next : dithered() };
}

/** The decay of update `step`, counted from 1: the first copies the weights, later ones grow towards `cap`. */
export function emaDecay(step: number, cap: number): number {
  const s = step - 1;
  return s <= 0 ? 0 : Math.min((1 + s) / (10 + s), cap);
}

/** The input of a graph that is fed the moving average of the weight `name`. */
export const averageOf = (name: string): string => `average.${name}`;
