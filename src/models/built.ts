/** A model as a graph of fixed size: what a pipeline compiles, feeds and reads, whatever the architecture. */

import type { TensorType, Value } from "../graph/op.ts";
import { type Parameter, Scope } from "../nn/index.ts";
import { input } from "../ops/index.ts";

export interface Built<Out extends string = string> {
  /** By the names under which they are fed. */
  readonly inputs: Readonly<Record<string, Value>>;
  readonly outputs: Readonly<Record<Out, Value>>;
  /** By checkpoint name, in the order of first use. */
  readonly parameters: ReadonlyMap<string, Parameter>;
}

/** Makes the inputs that `types` describes and runs the model's definition on them. */
export function build<In extends string, Out extends string>(
  types: Readonly<Record<In, TensorType>>,
  define: (s: Scope, inputs: Readonly<Record<In, Value>>) => Readonly<Record<Out, Value>>,
): Built<Out> {
  const inputs = Object.fromEntries(
    Object.entries<TensorType>(types).map(([name, { dtype, shape }]) => [
      name,
      input(name, { dtype, shape }),
    ]),
  ) as Record<In, Value>;
  const s = new Scope();
  const outputs = define(s, inputs);
  return { inputs, outputs, parameters: s.parameters };
}
