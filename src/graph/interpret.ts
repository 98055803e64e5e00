/** Evaluation in float64 by each op's reference: the oracle of the tests, and constant folding. Slow and plain. */

import { check } from "../core/assert.ts";
import { isComposite, type NdArray, type Value } from "./op.ts";
import { topological } from "./order.ts";

/** Values of params and inputs, by name. */
export type Leaves = ReadonlyMap<string, NdArray>;

/**
 * The values of `outputs`, each with its shape.
 * @throws KoalaError E_GRAPH when a leaf has no value
 */
export function interpret(outputs: readonly Value[], leaves: Leaves): NdArray[] {
  const known = new Map<Value, NdArray>();
  evaluate(outputs, leaves, known);
  return outputs.map((value) => known.get(value) as NdArray);
}

function evaluate(outputs: readonly Value[], leaves: Leaves, known: Map<Value, NdArray>): void {
  for (const value of topological(outputs, known)) {
    if (value.op.name === "param" || value.op.name === "input") {
      const name = value.attrs.name as string;
      const leaf = leaves.get(name);
      check(leaf !== undefined, "E_GRAPH", () => ({
        where: "interpret",
        expected: `a value for ${value.op.name} ${name}`,
        got: "none",
      }));
      known.set(value, leaf);
    } else if (isComposite(value.op)) {
      const body = value.op.expand(value.inputs, value.attrs);
      evaluate([body], leaves, known);
      known.set(value, known.get(body) as NdArray);
    } else {
      const inputs = value.inputs.map((x) => known.get(x) as NdArray);
      known.set(value, { shape: value.shape, data: value.op.reference(inputs, value.attrs, value.shape) });
    }
  }
}
