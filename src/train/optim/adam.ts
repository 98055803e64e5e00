/** AdamW, with moments in float32 or in 8 bits. Sources: Kingma and Ba 2014, arXiv:1412.6980; PyTorch's `AdamW`. */

import type { Value } from "../../graph/op.ts";
import {
  abs,
  add,
  cast,
  div,
  exp,
  greater,
  less,
  log,
  max,
  maximum,
  minimum,
  mul,
  neg,
  reshape,
  sqrt,
  square,
  sub,
  where,
} from "../../ops/index.ts";
import { BLOCK } from "../arena.ts";
import { ditherOf, TINY } from "../dither.ts";
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

export const scaleByAdam = (beta1: number, beta2: number, eps: number): ElementTransform => ({
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

/** How magnitudes become codes: 0 is 0, and from 1 to `most` they grow from 10^−decades to 1 in equal ratios. */
interface CodeMap {
  readonly most: number;
  readonly decades: number;
}

/** How moments are kept: a mean as a magnitude and a sign, a mean square as a magnitude. */
interface Codes {
  readonly dtype: "uint8" | "uint16";
  readonly mean: CodeMap;
  readonly square: CodeMap;
}

/** Neighbours differ by 9.6 % and 9.5 %. */
const codes8: Codes = {
  dtype: "uint8",
  mean: { most: 2 ** 7 - 1, decades: 5 },
  square: { most: 2 ** 8 - 1, decades: 10 },
};
/** Neighbours differ by 0.06 % and 0.05 %, as those of a float16 do by 0.05 to 0.1 %. */
const codes16: Codes = {
  dtype: "uint16",
  mean: { most: 2 ** 15 - 1, decades: 8 },
  square: { most: 2 ** 16 - 1, decades: 14 },
};

const logRatio = ({ most, decades }: CodeMap): number => (decades * Math.LN10) / (most - 1);

/** `code` [..] of whole numbers → the share of the scale that it stands for. */
const decode = (code: Value, map: CodeMap): Value =>
  where(greater(code, 0.5), exp(mul(sub(code, map.most), logRatio(map))), 0);

/** The code of `share`, in 0 to 1, rounded down after `dither`, in 0 to 1, is added. */
const encode = (share: Value, map: CodeMap, dither: Value): Value => {
  const code = add(div(log(maximum(share, TINY)), logRatio(map)), map.most);
  return minimum(add(maximum(code, 0), dither), map.most); // in float32 65535 and a dither may be 65536
};

/**
 * Blocks of 2048 elements share a scale, their largest magnitude (Dettmers et al. 2021, arXiv:2110.02861, section 2). The
 * codes are logarithmic instead of that paper's dynamic tree, which needs a search. To the nearest code a mean square would
 * never fall, since a step takes 0.1 % off it: so the rounding goes up or down by a dither, a function of the step, that
 * leaves the moments right on average. A block that has seen a gradient has no mean square of code 0, which under a mean
 * that is not 0 would make a step without bounds.
 */
const scaleByCodedAdam = (
  name: string,
  codes: Codes,
  { beta1, beta2, eps }: Required<Omit<AdamOptions, "weightDecay">>,
): ElementTransform => ({
  name,
  unit: "elements",
  state: {
    mean: { dtype: codes.dtype, per: 1 },
    meanScale: { dtype: "float32", per: BLOCK },
    square: { dtype: codes.dtype, per: 1 },
    squareScale: { dtype: "float32", per: BLOCK },
  },
  scalars: (step) => ({ ...unbias(beta1, beta2)(step), dither: ditherOf(step) }),
  apply(g, { state, scalars }) {
    const [n] = g.shape as [number];
    const blocks = (x: Value): Value => reshape(x, [n / BLOCK, BLOCK]);
    const column = (x: Value): Value => reshape(x, [n / BLOCK, 1]);
    const flat = (x: Value): Value => reshape(x, [n]);
    const dither = scalars.dither as Value;
    const middle = codes.mean.most + 1; // the code of a mean of 0

    // code 0, which no mean gets, is what no step has written yet: the zeros of a start, and after a restore the elements
    // between two tensors, which a checkpoint has not; read as the most below 0 they would set the scale of their block
    const code = cast(blocks(state.mean as Value), "float32");
    const signed = where(less(code, 0.5), 0, sub(code, middle));
    const magnitude = mul(decode(abs(signed), codes.mean), column(state.meanScale as Value));
    const squares = decode(cast(blocks(state.square as Value), "float32"), codes.square);
    const last = {
      mean: where(less(signed, 0), neg(magnitude), magnitude),
      square: mul(squares, column(state.squareScale as Value)),
    };
    const next = moments(blocks(g), last, beta1, beta2);

    const meanScale = max(abs(next.mean), [1], { keep: true });
    const squareScale = max(next.square, [1], { keep: true });
    const part = (x: Value, scale: Value): Value => div(x, maximum(scale, TINY));
    const share = encode(part(abs(next.mean), meanScale), codes.mean, dither);
    const whole = cast(cast(share, codes.dtype), "float32"); // the first cast rounds down
    const squareCode = encode(part(next.square, squareScale), codes.square, dither);
    const atLeast = where(greater(squareScale, 0), 1, 0);
    return {
      update: flat(normalized(next, scalars, eps)),
      state: {
        mean: flat(cast(add(where(less(next.mean, 0), neg(whole), whole), middle), codes.dtype)),
        meanScale: reshape(meanScale, [n / BLOCK]),
        square: flat(cast(maximum(squareCode, atLeast), codes.dtype)),
        squareScale: reshape(squareScale, [n / BLOCK]),
      },
    };
  },
});

const codedAdam = (
  name: string,
  codes: Codes,
  { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0.01 }: AdamOptions,
): Optimizer => ({
  name,
  transforms: [
    scaleByCodedAdam(name, codes, { beta1, beta2, eps }),
    addDecayedWeight(weightDecay),
    scaleByRate,
  ],
});

/** AdamW with 2 bytes of moments a weight instead of 8: see `scaleByCodedAdam` for how they are kept. */
export const adam8bit = (o: AdamOptions = {}): Optimizer => codedAdam("adam8bit", codes8, o);

/** The same with 4 bytes, whose steps are those of AdamW to 0.1 %. */
export const adam16bit = (o: AdamOptions = {}): Optimizer => codedAdam("adam16bit", codes16, o);
