/**
 * The one rule of writing results over operands: an engine runs nodes in any order that the graph allows, so the node that
 * makes `new.x` must come after every other that reads `x`, by its operands alone.
 */

import { check } from "../core/assert.ts";
import type { Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { sameShape } from "../tensor/shape.ts";

/** Ops that make element i of the result of element i of each operand of its shape: they may write over one. */
const ELEMENTWISE: ReadonlySet<string> = new Set(["add", "sub", "mul", "div", "where", "maximum", "minimum"]);

/**
 * Holds that every output `new.x` may be written over the input `x`.
 * @throws KoalaError E_GRAPH
 */
export function checkAliases(outputs: Readonly<Record<string, Value>>): void {
  const order = topological(Object.values(outputs));
  for (const [name, value] of Object.entries(outputs)) {
    if (!name.startsWith("new.")) continue;
    const operand = name.slice("new.".length);
    const before = new Set(topological(value.inputs));
    const late = order.find(
      (node) =>
        node.inputs.some((x) => x.op.name === "input" && x.attrs.name === operand) &&
        !before.has(node) &&
        !(node === value && writesInPlace(value, operand)),
    );
    check(late === undefined, "E_GRAPH", () => ({
      where: `result ${name}`,
      expected: `a result that every reader of ${operand} comes before`,
      got: `a ${late?.op.name ?? ""} that may run after it`,
    }));
  }
}

const writesInPlace = (value: Value, operand: string): boolean =>
  ELEMENTWISE.has(value.op.name) &&
  value.inputs.every((x) => x.attrs.name !== operand || sameShape(x.shape, value.shape));
