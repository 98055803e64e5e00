/** The memory that values of a graph take while it runs, read off their shapes. */

import { dtypes } from "../tensor/dtype.ts";
import { size } from "../tensor/shape.ts";
import type { Value } from "./op.ts";
import { topological } from "./order.ts";

const LEAVES: ReadonlySet<string> = new Set(["param", "input", "constant"]);

/** The most bytes alive at a time when `outputs` are computed in graph order. Leaves and values of `elsewhere` count nothing. */
export function liveBytes(
  outputs: Iterable<Value>,
  elsewhere: { has(value: Value): boolean } = new Set(),
): number {
  const bytesOf = (x: Value): number =>
    LEAVES.has(x.op.name) || elsewhere.has(x) ? 0 : dtypes[x.type.dtype].bytes * size(x.type.shape);
  const results = new Set(outputs);
  const order = topological(results);
  const readers = new Map<Value, number>();
  for (const node of order) for (const x of node.inputs) readers.set(x, (readers.get(x) ?? 0) + 1);
  let live = 0;
  let most = 0;
  for (const node of order) {
    live += bytesOf(node);
    most = Math.max(most, live);
    for (const x of node.inputs) {
      const left = (readers.get(x) ?? 0) - 1;
      readers.set(x, left);
      if (left === 0 && !results.has(x)) live -= bytesOf(x);
    }
  }
  return most;
}
