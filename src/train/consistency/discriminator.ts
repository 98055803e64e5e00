/**
 * The adversary of a consistency model: heads on the features that a frozen U-Net has of noised latents, and hinge losses.
 * Source: G-U-N/Phased-Consistency-Model at b127277, `discriminator_sdxl.py`; hinge: Lim and Ye 2017, arXiv:1705.02894.
 */

import type { Value } from "../../graph/op.ts";
import type { UNetConfig } from "../../models/unet-config.ts";
import { conv, groupNorm, type Scope } from "../../nn/index.ts";
import { add, maximum, mean, mul, relu, sub } from "../../ops/index.ts";

/** PyTorch's defaults of `LeakyReLU` and `GroupNorm`. */
const LEAK = 0.01;
const EPS = 1e-5;

const leakyRelu = (x: Value): Value => maximum(x, mul(x, LEAK));

/** The taps whose values the heads read: each block on the way down, and the middle. */
export const criticTaps = (c: UNetConfig): string[] => [
  ...c.down.map((_, i) => `down_blocks.${i}`),
  ...(c.mid === null ? [] : ["mid_block"]),
];

/** How real each cell of a feature map is: `x` [N, C, h, w] → [N, 1, h, w]. */
function head(s: Scope, x: Value, groups: number): Value {
  const channels = x.shape[1] ?? 0;
  const layer = (name: string, v: Value): Value => {
    const mixed = conv(s.at(name, 0), v, channels, { kernel: 1 });
    return leakyRelu(groupNorm(s.at(name, 1), mixed, { groups, eps: EPS }));
  };
  const h = layer("conv1", x);
  return conv(s.at("conv_out"), add(layer("conv2", h), h), 1, { kernel: 1 });
}

/** One map of scores for each of `features`; parameters are called as in that file, `heads.0.0.conv1.0.weight`. */
export const critic = (s: Scope, features: readonly Value[], groups: number): Value[] =>
  features.map((x, i) => head(s.at("heads", i, 0), x, groups));

const axesOf = (x: Value): number[] => x.shape.map((_, axis) => axis);
const meanOfAll = (terms: readonly Value[]): Value => mul(terms.reduce(add), 1 / terms.length);
/** The mean of max(0, 1 − x). */
const hinge = (x: Value): Value => mean(relu(sub(1, x)), axesOf(x));

/** What the student loses by scores of its own: nothing above 1 → []. */
export const generatorLoss = (fake: readonly Value[]): Value => meanOfAll(fake.map(hinge));

/** What the adversary loses: nothing where it gives the student less than −1 and the target more than 1 → []. */
export const discriminatorLoss = (fake: readonly Value[], real: readonly Value[]): Value =>
  add(meanOfAll(fake.map((x) => hinge(mul(x, -1)))), generatorLoss(real));
