/**
 * Splits a graph by the stage that each node belongs to, so that each can be run, and timed, alone. What one stage takes
 * from another becomes an input. The law: run in any order on what the others gave, they give what the whole graph gives.
 */

import type { Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { input } from "../ops/index.ts";
import { type Outputs, withInputs } from "./rewrite.ts";

const LEAVES: ReadonlySet<string> = new Set(["param", "input", "constant"]);

/** The name under which a stage is fed, and gives, a value of another. */
export const crossingName = (value: Value): string => `crossing.${value.id}`;

/** By stage, in the order of first use. `stageOf` reads a node's label; a node without one belongs where its input does. */
export function stageGraphs(
  outputs: Outputs,
  stageOf: (label: string) => string,
): ReadonlyMap<string, Outputs> {
  const order = topological(Object.values(outputs)).filter(({ op }) => !LEAVES.has(op.name));
  const stages = new Map<Value, string>();
  for (const value of order) {
    const before = value.label === "" ? value.inputs.find((x) => stages.has(x)) : undefined;
    stages.set(value, before === undefined ? stageOf(value.label) : (stages.get(before) ?? ""));
  }
  const crossing = new Set(
    order.flatMap((value) =>
      value.inputs.filter((x) => stages.has(x) && stages.get(x) !== stages.get(value)),
    ),
  );
  const named = new Map(Object.entries(outputs).map(([name, value]) => [value, name]));
  const graphs = new Map<string, Record<string, Value>>();
  const own = new Map<Value, Value>();
  const fed = new Map<string, Map<Value, Value>>();
  for (const value of order) {
    const stage = stages.get(value) as string;
    const leaves = fed.get(stage) ?? new Map<Value, Value>();
    fed.set(stage, leaves);
    const of = (x: Value): Value => {
      if (!stages.has(x)) return x;
      if (stages.get(x) === stage) return own.get(x) as Value;
      const leaf = leaves.get(x) ?? input(crossingName(x), x.type);
      leaves.set(x, leaf);
      return leaf;
    };
    const rebuilt = withInputs(value, value.inputs.map(of));
    own.set(value, rebuilt);
    const graph = graphs.get(stage) ?? {};
    graphs.set(stage, graph);
    if (crossing.has(value)) graph[crossingName(value)] = rebuilt;
    const name = named.get(value);
    if (name !== undefined) graph[name] = rebuilt;
  }
  return graphs;
}
