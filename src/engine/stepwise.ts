/**
 * A program for a loop in which few inputs change: what rests on the others alone (keys and values of the prompt, the
 * pooled embedding) is computed when they change, by a program that lives for that one run.
 */

import type { Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { hoist } from "../passes/hoist.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type CompileOptions, compile, tapped } from "./compile.ts";
import { type Program, program } from "./program.ts";

export interface StepwiseOptions extends CompileOptions {
  /** Names of the inputs that differ from step to step. */
  readonly changing: readonly string[];
}

type Feeds = Readonly<Record<string, Tensor>>;

/**
 * Runs like `compile(outputs, o)`, faster from the second run on. Whether an input has changed is told by the tensor's
 * identity: a new tensor, not new numbers in an old one, makes the prologue run again.
 * @throws KoalaError E_WEIGHTS, E_ENGINE
 */
export async function compileStepwise(
  outputs: Readonly<Record<string, Value>>,
  o: StepwiseOptions,
): Promise<Program> {
  const { taps = [], ...options } = o;
  const all = { ...outputs, ...tapped(outputs, taps) };
  const { prologue, rest } = hoist(all, new Set(o.changing));
  const step = await compile(rest, options);
  if (Object.keys(prologue).length === 0) return step;

  const leaves = inputTypes([...Object.values(prologue), ...Object.values(all)]);
  const steady = inputTypes(Object.values(prologue));
  let last: Feeds = {};
  let hoisted: Feeds = {};

  const computeSteady = async (feeds: Feeds): Promise<void> => {
    const given = Object.fromEntries(Object.entries(feeds).filter(([name]) => name in steady));
    if (Object.keys(steady).every((name) => last[name] === given[name])) return;
    const once = await compile(prologue, options);
    try {
      hoisted = await once.run(given);
      last = given;
    } finally {
      await once.dispose();
    }
  };

  return program(leaves, step.outputs, {
    async run(feeds, into) {
      await computeSteady(feeds);
      const given = { ...feeds, ...hoisted };
      return step.run(
        Object.fromEntries(Object.entries(given).filter(([name]) => name in step.inputs)),
        into,
      );
    },
    dispose: () => step.dispose(),
  });
}

const inputTypes = (outputs: readonly Value[]): Program["inputs"] =>
  Object.fromEntries(
    topological(outputs).flatMap(({ op, attrs, type }) =>
      op.name === "input" ? [[attrs.name as string, type]] : [],
    ),
  );
