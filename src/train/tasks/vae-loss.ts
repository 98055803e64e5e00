/**
 * What an autoencoder learns: its pictures back, in their values and in their edges at several sizes, from latents that
 * are drawn around what the encoder says. As graphs, every term on its own.
 * Source of the likelihood and the KL term: Kingma and Welling 2014, arXiv:1312.6114, appendix B.
 */

import type { Value } from "../../graph/op.ts";
import { type VaeConfig, vaeDecoder, vaeEncoder } from "../../models/vae.ts";
import type { Scope } from "../../nn/index.ts";
import {
  abs,
  add,
  clamp,
  exp,
  log,
  maximum,
  mean,
  mul,
  reshape,
  slice,
  split,
  square,
  sub,
} from "../../ops/index.ts";
import { logVarianceRange } from "../data/encode.ts";

/** The parts of the loss. */
export const vaeTerms = ["l1", "l2", "edges", "kl"] as const;
export type VaeTerm = (typeof vaeTerms)[number];

/** Sizes at which edges are compared: the picture's own, its half, its quarter, its eighth. */
const EDGE_LEVELS = 4;

const axesOf = (x: Value): number[] => x.shape.map((_, axis) => axis);
const meanOf = (x: Value): Value => mean(x, axesOf(x));

/** `x` [N, C, H, W] → means of 2 x 2 cells, [N, C, H/2, W/2], without an odd last row or column. */
function halved(x: Value): Value {
  const [n = 0, c = 0, height = 0, width = 0] = x.shape;
  const [h, w] = [Math.floor(height / 2), Math.floor(width / 2)];
  const even = slice(slice(x, { axis: 2, start: 0, end: 2 * h }), { axis: 3, start: 0, end: 2 * w });
  const rows = mean(reshape(even, [n * c * h, 2, 2 * w]), [1]);
  return reshape(mean(reshape(rows, [n * c * h * w, 2]), [1]), [n, c, h, w]);
}

/** The mean size of the steps between neighbours of `x` along `axis` → []. */
function steps(x: Value, axis: number): Value {
  const length = x.shape[axis] ?? 0;
  return meanOf(
    abs(sub(slice(x, { axis, start: 1, end: length }), slice(x, { axis, start: 0, end: length - 1 }))),
  );
}

/**
 * The mean difference of two pictures' gradients over a pyramid of means: `error`, the one picture less the other,
 * [N, C, H, W] → []. Both steps are linear, so that the pyramid of the difference is the difference of the pyramids; it
 * ends early where a side has no neighbours left.
 */
export function edgeError(error: Value): Value {
  const parts: Value[] = [];
  let x = error;
  for (let level = 0; level < EDGE_LEVELS && Math.min(...x.shape.slice(2)) > 1; level++) {
    parts.push(steps(x, 2), steps(x, 3));
    x = halved(x);
  }
  return mul(parts.reduce(add), 1 / parts.length);
}

/** `moments` [N, 2·L, h, w] → mean and log-variance, [N, L, h, w] each, the latter clamped as diffusers clamps it. */
function gaussian(moments: Value): { readonly mu: Value; readonly logVariance: Value } {
  const [mu, raw] = split(moments, 2, 1) as [Value, Value];
  return { mu, logVariance: clamp(raw, ...logVarianceRange) };
}

/** A squared error whose PSNR is 100 dB: log(0) of pictures that are equal would end a run. */
const LEAST_ERROR = 4e-10;

/** The peak signal to noise ratio of pictures in −1..1, on average, in dB: of the squared error of `each` [N] → []. */
function psnr(each: Value): Value {
  // 10 log10(peak² / error), the peak being 2
  const decibels = mul(log(mul(maximum(each, LEAST_ERROR), 1 / 4)), -10 / Math.LN10);
  return mean(decibels, [0]);
}

/**
 * Terms of the loss by name: `picture` [N, 3, H, W] in −1..1, `noise` [N, L, h, w] standard normal → [] each. `l1`, `l2`
 * and `edges` are means over values, `kl` is the mean over latents of the divergence from the standard normal, and `psnr`
 * (dB) is there to be read.
 */
export function vaeLossTerms(
  encoder: Scope,
  decoder: Scope,
  { picture, noise }: { readonly picture: Value; readonly noise: Value },
  c: VaeConfig,
): Readonly<Record<VaeTerm | "psnr", Value>> {
  const { mu, logVariance } = gaussian(vaeEncoder(encoder, picture, c));
  const variance = exp(logVariance);
  const latents = add(mu, mul(exp(mul(logVariance, 0.5)), noise));
  const reconstruction = vaeDecoder(decoder, latents, c);
  const error = sub(reconstruction, picture);
  const squares = mean(square(error), axesOf(error).slice(1)); // [N]
  const divergence = sub(add(square(mu), variance), add(logVariance, 1));
  return {
    l1: meanOf(abs(error)),
    l2: mean(squares, [0]),
    edges: edgeError(error),
    kl: mul(meanOf(divergence), 0.5),
    psnr: psnr(squares),
  };
}
