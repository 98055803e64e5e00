/** Stores made of stores: the union of several files, and the same tensors under other names or in other shapes. */

import { check } from "../core/assert.ts";
import { dtypes } from "../tensor/dtype.ts";
import { type Shape, size } from "../tensor/shape.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * All tensors of `stores`, which share no name.
 * @throws KoalaError E_WEIGHTS
 */
export function unionStore(stores: readonly TensorStore[], where: string): TensorStore {
  const only = stores[0];
  if (only !== undefined && stores.length === 1) return only;
  const tensors = new Map<string, StoredTensor>();
  const owners = new Map<string, TensorStore>();
  for (const store of stores) {
    for (const [name, stored] of store.tensors) {
      check(!owners.has(name), "E_WEIGHTS", () => ({
        where,
        expected: "every tensor in one file",
        got: `"${name}" in two`,
      }));
      owners.set(name, store);
      tensors.set(name, stored);
    }
  }
  return { tensors, read: (name) => ownerOf(owners, name, where).read(name) };
}

/** One tensor of a store, made of a tensor of another. */
export interface Derived {
  readonly from: string;
  /** A run of whole rows (the first axis); absent: all. */
  readonly rows?: readonly [first: number, end: number];
  /** Other dimensions of the same elements; absent: those of the source. */
  readonly shape?: Shape;
  /** Columns become rows: two axes only. Such a tensor no longer lies in the file as it is. */
  readonly isTransposed?: boolean;
}

/**
 * Tensors of `source` as `derived` says. What keeps its bytes keeps its place in the file, so it is still read by offset.
 * @throws KoalaError E_WEIGHTS when `source` lacks a tensor, on reading
 */
export function deriveStore(
  source: TensorStore,
  derived: ReadonlyMap<string, Derived>,
  where: string,
): TensorStore {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, how] of derived) {
    const stored = source.tensors.get(how.from);
    if (stored !== undefined) tensors.set(name, place(stored, how));
  }

  async function read(name: string): Promise<Tensor> {
    const how = ownerOf(derived, name, where);
    const whole = await source.read(how.from);
    const stored = place({ ...whole, file: null, offset: 0, byteLength: whole.data.byteLength }, how);
    if (how.isTransposed === true) return transpose(whole);
    if (how.rows === undefined) return { ...whole, shape: stored.shape };
    const first = stored.offset / dtypes[whole.dtype].bytes;
    return {
      dtype: whole.dtype,
      shape: stored.shape,
      data: whole.data.slice(first, first + size(stored.shape)),
    };
  }

  return { tensors, read };
}

function ownerOf<T>(map: ReadonlyMap<string, T>, name: string, where: string): T {
  const found = map.get(name);
  check(found !== undefined, "E_WEIGHTS", () => ({
    where,
    expected: `a tensor "${name}"`,
    got: "none of that name",
  }));
  return found;
}

function place(stored: StoredTensor, { rows, shape, isTransposed }: Derived): StoredTensor {
  if (isTransposed === true) return { ...stored, shape: [...stored.shape].reverse(), file: null };
  if (rows === undefined) return shape === undefined ? stored : { ...stored, shape };
  const [first, end] = rows;
  const kept = [end - first, ...stored.shape.slice(1)];
  const rowBytes = size(stored.shape.slice(1)) * dtypes[stored.dtype].bytes;
  return {
    ...stored,
    shape: kept,
    offset: stored.offset + first * rowBytes,
    byteLength: (end - first) * rowBytes,
  };
}

/** `t` [R, C] → [C, R]. */
function transpose(t: Tensor): Tensor {
  const [R = 0, C = 0] = t.shape;
  const data = t.data.slice();
  for (let r = 0; r < R; r++) {
    for (let c = 0; c < C; c++) data[c * R + r] = t.data[r * C + c] as never;
  }
  return { dtype: t.dtype, shape: [C, R], data };
}
