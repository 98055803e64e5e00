/** AdamW, with moments in float32 or in 8 bits. Sources: Kingma and Ba 2014, arXiv:1412.6980; PyTorch's `AdamW`. */

import type { Value } from "../../graph/op.ts";
import {
  abs,
  add,
  cast,
  div,
  less,
  max,
  maximum,
  mul,
  neg,
  reshape,
  sqrt,
  square,
  sub,
  where,
} from "../../ops/index.ts";
import { BLOCK } from "../arena.ts";
import { addDecayedWeight, type ElementTransform, type Optimizer, scaleByRate } from "./transform.ts";

export interface AdamOptions {
  /** Share of the mean that stays; default 0.9. */
  readonly beta1?: number;
  /** Share of the mean square that stays; default 0.999. */
  readonly beta2?: number;
  /** Default 1e-8. */
  readonly eps?: number;
  /** Default 0.01. */
  readonly weightDecay?: number;
}

type Moments = { readonly mean: Value; readonly square: Value };

/** The moments after one more gradient `g`. */
const moments = (g: Value, last: Moments, beta1: number, beta2: number): Moments => ({
  mean: add(mul(last.mean, beta1), mul(g, 1 - beta1)),
  square: add(mul(last.square, beta2), mul(square(g), 1 - beta2)),
});

/** m̂ / (√v̂ + ε), where the hats take out the bias towards the zeros of the beginning. */
const normalized = (m: Moments, scalars: Readonly<Record<string, Value>>, eps: number): Value =>
  div(mul(m.mean, scalars.unbiasMean as Value), add(mul(sqrt(m.square), scalars.unbiasRoot as Value), eps));

const unbias = (beta1: number, beta2: number) => (step: number) => ({
  unbiasMean: 1 / (1 - beta1 ** step),
  unbiasRoot: 1 / Math.sqrt(1 - beta2 ** step),
});

const scaleByAdam = (beta1: number, beta2: number, eps: number): ElementTransform => ({
  name: "adam",
  unit: "elements",
  state: { mean: { dtype: "float32", per: 1 }, square: { dtype: "float32", per: 1 } },
  scalars: unbias(beta1, beta2),
  apply(g, { state, scalars }) {
    const next = moments(g, state as unknown as Moments, beta1, beta2);
    return { update: normalized(next, scalars, eps), state: next };
  },
});

/** AdamW as PyTorch has it: the decay is that of the weight before the step, times the learning rate. */
export function adamW({
  beta1 = 0.9,
  beta2 = 0.999,
  eps = 1e-8,
  weightDecay = 0.01,
}: AdamOptions = {}): Optimizer {
  const transforms = [scaleByAdam(beta1, beta2, eps), addDecayedWeight(weightDecay), scaleByRate];
  return { name: "adamW", transforms };
}

/** Codes of the mean: 1 to 255 around 128. */
const MIDDLE = 128;
const MEAN_STEPS = 127;
const SQUARE_STEPS = 255;

/**
 * Blocks of 2048 elements share a scale, their largest magnitude (Dettmers et al. 2021, arXiv:2110.02861, section 2). The
 * codes are spaced by a power instead of that paper's dynamic tree, which needs a search: with s the scale,
 *
 *   mean    ± s (|q − 128| / 127)²    least step 6e-5 s
 *   square  s (q / 255)⁴              least step 2e-10 s; a block that has seen a gradient has no code 0, since a mean
 *                                     square of 0 under a mean that is not would make a step without bounds
 *
 * Both round the root to the nearest code.
 */
const scaleByAdam8bit = (beta1: number, beta2: number, eps: number): ElementTransform => ({
  name: "adam8bit",
  unit: "elements",
  state: {
    mean: { dtype: "uint8", per: 1 },
    meanScale: { dtype: "float32", per: BLOCK },
    square: { dtype: "uint8", per: 1 },
    squareScale: { dtype: "float32", per: BLOCK },
  },
  scalars: unbias(beta1, beta2),
  apply(g, { state, scalars }) {
    const [n] = g.shape as [number];
    const blocks = (x: Value): Value => reshape(x, [n / BLOCK, BLOCK]);
    const column = (x: Value): Value => reshape(x, [n / BLOCK, 1]);
    const flat = (x: Value): Value => reshape(x, [n]);

    const root = div(sub(cast(blocks(state.mean as Value), "float32"), MIDDLE), MEAN_STEPS);
    const mean = mul(mul(root, abs(root)), column(state.meanScale as Value));
    const codes = div(cast(blocks(state.square as Value), "float32"), SQUARE_STEPS);
    const last = { mean, square: mul(square(square(codes)), column(state.squareScale as Value)) };
    const next = moments(blocks(g), last, beta1, beta2);

    const meanScale = max(abs(next.mean), [1], { keep: true });
    const squareScale = max(next.square, [1], { keep: true });
    // a block of zeros divides by the least normal number instead of by 0
    const part = (x: Value, scale: Value): Value => div(x, maximum(scale, 2 ** -126));
    const share = part(next.mean, meanScale);
    const signed = where(less(share, 0), neg(sqrt(abs(share))), sqrt(abs(share)));
    const fourth = sqrt(sqrt(part(next.square, squareScale)));
    const atLeastOne = where(less(0, squareScale), 1, 0);
    return {
      update: flat(normalized(next, scalars, eps)),
      state: {
        // a cast cuts off what follows the point
        mean: flat(cast(add(mul(signed, MEAN_STEPS), MIDDLE + 0.5), "uint8")),
        meanScale: reshape(meanScale, [n / BLOCK]),
        square: flat(cast(maximum(add(mul(fourth, SQUARE_STEPS), 0.5), atLeastOne), "uint8")),
        squareScale: reshape(squareScale, [n / BLOCK]),
      },
    };
  },
});

/** AdamW with 2 bytes of moments a weight instead of 8: see `scaleByAdam8bit` for how they are kept. */
export function adam8bit({
  beta1 = 0.9,
  beta2 = 0.999,
  eps = 1e-8,
  weightDecay = 0.01,
}: AdamOptions = {}): Optimizer {
  const transforms = [scaleByAdam8bit(beta1, beta2, eps), addDecayedWeight(weightDecay), scaleByRate];
  return { name: "adam8bit", transforms };
}
