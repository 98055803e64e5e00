/** Walking a graph. Ids grow with creation, so sorting by id is a topological order. */

import type { Value } from "./op.ts";

/** All values that `outputs` rest on, inputs before users; does not look behind values in `known`. */
export function topological(
  outputs: Iterable<Value>,
  known: { has(value: Value): boolean } = new Set(),
): Value[] {
  const seen = new Set<Value>();
  const stack = [...outputs];
  for (let value = stack.pop(); value !== undefined; value = stack.pop()) {
    if (seen.has(value) || known.has(value)) continue;
    seen.add(value);
    stack.push(...value.inputs);
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

/** Every tap that `outputs` rest on, by its name, in graph order. */
export function tapsOf(outputs: Iterable<Value>): Map<string, Value> {
  const taps = topological(outputs).filter((value) => value.op.name === "tap");
  return new Map(taps.map((value) => [value.attrs.name as string, value]));
}
