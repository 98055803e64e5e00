/** A compiled graph: typed inputs and outputs on one engine. */

import { check } from "../core/assert.ts";
import { nearest } from "../core/nearest.ts";
import type { TensorType } from "../graph/op.ts";
import type { Session } from "../runtime/session.ts";
import { sameShape, show } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";

export interface Program {
  readonly inputs: Readonly<Record<string, TensorType>>;
  /** The outputs that it was compiled with, and then its taps. */
  readonly outputs: Readonly<Record<string, TensorType>>;
  /**
   * One run: every input is fed, nothing else. `into` gives tensors that results are written into.
   * @throws KoalaError E_GRAPH when a feed is missing, unknown, or of another type; E_ENGINE when the engine fails
   */
  run(
    feeds: Readonly<Record<string, Tensor>>,
    into?: Readonly<Record<string, Tensor>>,
  ): Promise<Record<string, Tensor>>;
  /** Frees the engine's copy of the weights; a second call does nothing. */
  dispose(): Promise<void>;
}

export function program(
  inputs: Readonly<Record<string, TensorType>>,
  outputs: Readonly<Record<string, TensorType>>,
  session: Session,
): Program {
  return {
    inputs,
    outputs,
    async run(feeds, into = {}) {
      for (const name of Object.keys(inputs))
        check(feeds[name] !== undefined, "E_GRAPH", () => ({
          where: `feed ${name}`,
          expected: typeText(inputs[name]),
          got: "nothing",
        }));
      checkTensors("feed", feeds, inputs);
      checkTensors("result", into, outputs);
      return session.run(feeds, into);
    },
    dispose: () => session.dispose(),
  };
}

const typeText = (type: TensorType | undefined): string =>
  type === undefined ? "" : `${type.dtype} ${show(type.shape)}`;

function checkTensors(
  kind: "feed" | "result",
  given: Readonly<Record<string, Tensor>>,
  types: Readonly<Record<string, TensorType>>,
): void {
  for (const [name, t] of Object.entries(given)) {
    const type = types[name];
    check(type !== undefined, "E_GRAPH", () => {
      const near = nearest(name, Object.keys(types))[0];
      return {
        where: `${kind} ${name}`,
        expected: `one of ${Object.keys(types).join(", ")}`,
        got: "a name that the program does not have",
        ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
      };
    });
    check(t.dtype === type.dtype && sameShape(t.shape, type.shape), "E_GRAPH", () => ({
      where: `${kind} ${name}`,
      expected: typeText(type),
      got: typeText(t),
    }));
  }
}
