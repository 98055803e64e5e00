/** What the passes share: a walk that rebuilds a graph from its leaves up, keeping labels. */

import { apply, labelled, type Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";

/** Named results of a graph. */
export type Outputs = Readonly<Record<string, Value>>;

/** `value` with other operands; itself where they are the same. */
export function withInputs(value: Value, inputs: readonly Value[]): Value {
  if (inputs.every((x, i) => x === value.inputs[i])) return value;
  return labelled(value.label, () => apply(value.op, inputs, value.attrs));
}

/**
 * Replaces every value, inputs before users: `replace` is given the value with its operands already replaced,
 * and the value as it was.
 */
export function rewrite(outputs: Outputs, replace: (value: Value, original: Value) => Value): Outputs {
  const done = new Map<Value, Value>();
  const of = (value: Value): Value => done.get(value) ?? value;
  for (const value of topological(Object.values(outputs)))
    done.set(value, replace(withInputs(value, value.inputs.map(of)), value));
  return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, of(value)]));
}
