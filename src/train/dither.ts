/**
 * Rounding that is right on average: up or down by a dither in 0 to 1 that is another at each step. To the nearest, a value
 * of few bits that moves by less than half of its last would never move.
 */

import type { Value } from "../graph/op.ts";
import { abs, add, cast, div, exp, less, log, maximum, mul, neg, sub, where } from "../ops/index.ts";

/** Multiples of the golden ratio less their whole part fill 0 to 1 evenly, however many are taken (Weyl 1916). */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/** That of step `step`, from 1. A function of the step, so that a run that goes on rounds as one that was not stopped. */
export const ditherOf = (step: number): number => (step * GOLDEN) % 1;

/** The least normal float32: what stands for 0 in a logarithm or below a fraction. */
export const TINY: number = 2 ** -126;

/** Bits of a float16 after the first, and its least value above 0. */
const FRACTION_BITS = 10;
const LEAST = 2 ** -24;
/** Added to exponents, which a cast can then round down: it cuts towards 0. */
const BIAS = 128;

/** `x` [..] in float32 → float16, every value to one of its two neighbours, by `dither` []. */
export function ditheredFloat16(x: Value, dither: Value): Value {
  const size = abs(x);
  const exponent = cast(add(div(log(maximum(size, TINY)), Math.LN2), BIAS), "uint8");
  const power = exp(mul(sub(cast(exponent, "float32"), BIAS + FRACTION_BITS), Math.LN2));
  const unit = maximum(power, LEAST); // of the last bit
  const whole = mul(cast(cast(add(div(size, unit), dither), "uint16"), "float32"), unit);
  return cast(where(less(x, 0), neg(whole), whole), "float16");
}
