/**
 * How weights are stored as small integers: a plain object, kept as JSON beside them. A weight W [O, ...] called `name` is
 * stored under its own name as integers, with its scales under `name_scale`:
 *
 *   blocks    each row (W flattened to [O, K]) in blocks of `block` numbers: (q − 2^(bits−1)) · scale[o, k / block], with q of
 *             `bits` bits, uint8 [O, ⌈K / block⌉, block · bits / 8], the first of two numbers in the low half of a byte
 *   channels  q · scale[o], q int8 in W's own shape; what the layer reads is rounded to (u − zero) · scale, u uint8, and so
 *             is what a convolution gives where `output` says how
 */

import { type Shape, size } from "./shape.ts";

/** A number x stands as the uint8 round(x / scale) + zero, at most 255 and at least 0. */
export interface Rounding {
  readonly scale: number;
  readonly zero: number;
}

export interface BlocksRecipe {
  readonly kind: "blocks";
  readonly bits: 4 | 8;
  /** Numbers that share a scale: a power of two of at least 16. */
  readonly block: number;
}

export interface ChannelsRecipe {
  readonly kind: "channels";
  readonly input: Rounding;
  /** Of a convolution only; absent: its result stays a float. */
  readonly output?: Rounding;
}

export type LayerRecipe = BlocksRecipe | ChannelsRecipe;

/** By the name of the weight; the weights that are not named are floats. */
export interface Recipe {
  readonly layers: Readonly<Record<string, LayerRecipe>>;
}

export const scaleName = (weight: string): string => `${weight}_scale`;

export interface StoredForm {
  readonly dtype: "int8" | "uint8";
  readonly shape: Shape;
  /** Of the scales. */
  readonly scale: Shape;
}

/** How a weight of `shape` [O, ...] lies in a file. */
export function storedForm(shape: Shape, how: LayerRecipe): StoredForm {
  const [rows = 1, ...rest] = shape;
  if (how.kind === "channels") return { dtype: "int8", shape, scale: [rows] };
  const blocks = Math.ceil(size(rest) / how.block);
  return { dtype: "uint8", shape: [rows, blocks, (how.block * how.bits) / 8], scale: [rows, blocks] };
}
