/**
 * Splits a graph in two: what rests only on inputs that stay the same between runs (a prompt, say) is computed once by a
 * prologue, and handed to the rest as inputs. The law: rest ∘ prologue = the graph that it was made from.
 */

import type { Value } from "../graph/op.ts";
import { labelled } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { input } from "../ops/index.ts";
import { type Outputs, withInputs } from "./rewrite.ts";

export interface Hoisted {
  /** What the rest needs, under the names of its extra inputs; none where nothing can be hoisted. */
  readonly prologue: Outputs;
  readonly rest: Outputs;
}

const LEAVES: ReadonlySet<string> = new Set(["param", "input", "constant"]);

/** `changing` names the inputs that differ from run to run. A tap or output is never hoisted away: it stays in the rest. */
export function hoist(outputs: Outputs, changing: ReadonlySet<string>): Hoisted {
  const order = topological(Object.values(outputs));
  const changes = new Set<Value>();
  const restsOnInput = new Set<Value>();
  for (const value of order) {
    const isInput = value.op.name === "input";
    if (isInput ? changing.has(value.attrs.name as string) : value.inputs.some((x) => changes.has(x)))
      changes.add(value);
    if (isInput || value.inputs.some((x) => restsOnInput.has(x))) restsOnInput.add(value);
  }
  // weights alone stay where they are used: computed once they would only take memory twice
  const isHoistable = (x: Value): boolean => !changes.has(x) && restsOnInput.has(x) && !LEAVES.has(x.op.name);

  const prologue: Record<string, Value> = {};
  const replaced = new Map<Value, Value>();
  const keep = new Set(Object.values(outputs));
  const cut = (x: Value): Value => {
    const known = replaced.get(x);
    if (known !== undefined) return known;
    const name = `hoisted.${Object.keys(prologue).length}`;
    prologue[name] = x;
    const leaf = labelled(x.label, () => input(name, x.type));
    replaced.set(x, leaf);
    return leaf;
  };
  const of = (x: Value): Value => (isHoistable(x) ? cut(x) : (replaced.get(x) ?? x));
  for (const value of order)
    if (changes.has(value)) replaced.set(value, withInputs(value, value.inputs.map(of)));
  const rest = Object.fromEntries(
    Object.entries(outputs).map(([name, value]) => [name, keep.has(value) ? of(value) : value]),
  );
  return { prologue, rest };
}
