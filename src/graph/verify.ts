/** The grammar of the graph, held on every graph that is compiled: a broken rewrite, or a name used twice, fails by itself. */

import { check } from "../core/assert.ts";
import { sameShape, show } from "../tensor/shape.ts";
import type { TensorType, Value } from "./op.ts";
import { topological } from "./order.ts";

const text = (type: TensorType): string => `${type.dtype} ${show(type.shape)}`;
const same = (a: TensorType, b: TensorType): boolean => a.dtype === b.dtype && sameShape(a.shape, b.shape);

/**
 * Holds that every node's type is what its op's rule says, that inputs come before users, that dimensions are positive
 * whole numbers, and that leaves of one name are one leaf.
 * @throws KoalaError E_GRAPH
 */
export function verify(outputs: readonly Value[]): void {
  const leaves = new Map<string, Value>();
  for (const value of topological(outputs)) {
    const where = value.label === "" ? value.op.name : `${value.label} (${value.op.name})`;
    const inferred = value.op.infer(
      value.inputs.map((x) => x.type),
      value.attrs,
    );
    check(same(inferred, value.type), "E_GRAPH", () => ({
      where,
      expected: `the type of its shape rule, ${text(inferred)}`,
      got: text(value.type),
    }));
    check(
      value.shape.every((d) => Number.isInteger(d) && d > 0),
      "E_GRAPH",
      () => ({ where, expected: "positive whole dimensions", got: show(value.shape) }),
    );
    check(
      value.inputs.every((x) => x.id < value.id),
      "E_GRAPH",
      () => ({ where, expected: "inputs made before it", got: "a later one" }),
    );
    if (value.op.name !== "param" && value.op.name !== "input") continue;
    const name = value.attrs.name as string;
    const other = leaves.get(name);
    check(other === undefined || other === value, "E_GRAPH", () => ({
      where,
      expected: `one leaf named ${name}`,
      got: `two: ${[other, value].map((leaf) => (leaf === undefined ? "" : `${leaf.op.name} ${text(leaf.type)}`)).join(" and ")}`,
    }));
    leaves.set(name, value);
  }
}
