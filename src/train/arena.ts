/**
 * Named tensors side by side in a few long arrays. What treats every element alike (an update, a moving average, a sum of
 * gradients) runs over the arrays in pieces that fit a cache, whatever the tensors are; what wants whole tensors has views.
 */

import { allocate, type DType, dtypes, type TypedArray, viewAs } from "../tensor/dtype.ts";
import { type Shape, size } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Scratch } from "./scratch.ts";

/** Every tensor begins at a multiple of it: the block of the 8-bit optimizer, so that no block holds two tensors. */
export const BLOCK = 2048;

/**
 * Most elements of a piece: 1 MiB of float32, so that the four arrays of an AdamW update and what it makes of them stay in
 * the cache, and a model of 16 million weights is 62 calls.
 */
const PIECE = 2 ** 18;

/** Elements of a slab, 1 GiB of float32: well below the longest array of every JavaScript engine. */
const SLAB = 2 ** 28;

export interface Slot {
  readonly shape: Shape;
  readonly slab: number;
  /** In elements. */
  readonly offset: number;
}

/** Where each tensor lies; the same for weights, gradients, moments and averages. */
export interface Layout {
  readonly slots: ReadonlyMap<string, Slot>;
  /** Length of each slab in elements: a multiple of `piece`. */
  readonly slabs: readonly number[];
  readonly piece: number;
}

const roundUp = (n: number, unit: number): number => Math.ceil(n / unit) * unit;

export function layOut(shapes: Iterable<readonly [name: string, shape: Shape]>): Layout {
  const slots = new Map<string, Slot>();
  const ends: number[] = [];
  for (const [name, shape] of shapes) {
    const length = roundUp(size(shape), BLOCK);
    const last = ends.at(-1);
    const isFull = last === undefined || (last > 0 && last + length > SLAB);
    if (isFull) ends.push(0);
    const slab = ends.length - 1;
    const offset = ends[slab] ?? 0;
    slots.set(name, { shape, slab, offset });
    ends[slab] = offset + length;
  }
  const piece = Math.min(PIECE, Math.max(BLOCK, ...ends));
  return { slots, slabs: ends.map((end) => roundUp(end, piece)), piece };
}

export interface ArenaOptions {
  /** Default float32. */
  readonly dtype?: DType;
  /** Elements of the layout that share one element of this arena: 1, or the block of a scale. */
  readonly per?: number;
  /** Where its memory comes from; absent: it stays for as long as the arena is used. */
  readonly scratch?: Scratch;
}

export interface Arena {
  readonly layout: Layout;
  readonly dtype: DType;
  readonly per: number;
  /** Zero where no tensor lies. */
  readonly slabs: readonly TypedArray[];
  /** Views into the slabs, in the shapes of the layout; one-dimensional where elements share. */
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** Zeros for every tensor of `layout`. */
export function makeArena(layout: Layout, { dtype = "float32", per = 1, scratch }: ArenaOptions = {}): Arena {
  const slabs = layout.slabs.map((length) =>
    scratch === undefined ? allocate(dtype, length / per) : scratch.allocate(dtype, length / per),
  );
  const tensors = new Map(
    [...layout.slots].map(([name, slot]): [string, Tensor] => {
      const shape = per === 1 ? slot.shape : [Math.ceil(size(slot.shape) / per)];
      const data = part(slabs, dtype, slot.slab, slot.offset / per, size(shape));
      return [name, { dtype, shape, data }];
    }),
  );
  return { layout, dtype, per, slabs, tensors };
}

/** What such an arena takes. */
export const arenaBytes = (
  { slabs }: Layout,
  { dtype = "float32", per = 1 }: Pick<ArenaOptions, "dtype" | "per"> = {},
): number => slabs.reduce((sum, length) => sum + (length / per) * dtypes[dtype].bytes, 0);

/** Piece `index` of slab `slab`, a view. */
export function pieceOf({ layout, dtype, per, slabs }: Arena, slab: number, index: number): Tensor {
  const length = layout.piece / per;
  return { dtype, shape: [length], data: part(slabs, dtype, slab, index * length, length) };
}

function part(
  slabs: readonly TypedArray[],
  dtype: DType,
  slab: number,
  offset: number,
  length: number,
): TypedArray {
  const whole = slabs[slab] as TypedArray;
  return viewAs(dtype, whole.buffer, whole.byteOffset + offset * dtypes[dtype].bytes, length);
}
