/**
 * A program for a loop in which few inputs change: what rests on the others alone (keys and values of the prompt, the
 * pooled embedding) is computed when they change, by a program that is freed before the step's own is used.
 */

import type { Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { hoist } from "../passes/hoist.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type CompileOptions, compile, tapped } from "./compile.ts";
import { type Program, program } from "./program.ts";

type Feeds = Readonly<Record<string, Tensor>>;

export interface StepwiseOptions extends CompileOptions {
  /** Names of the inputs that differ from step to step. */
  readonly changing: readonly string[];
  /** Sets of the other inputs that steps will come with: computed at once, so that their weights never lie beside the step's. */
  readonly steady?: readonly Feeds[];
}

/** Sets of steady inputs whose results are kept: guidance in turns alternates between two. */
const KEPT = 2;

/**
 * Runs like `compile(outputs, o)`, faster from the second run on. Whether an input has changed is told by the tensor's
 * identity: a new tensor, not new numbers in an old one, makes the prologue run again.
 * @throws KoalaError E_WEIGHTS, E_ENGINE
 */
export async function compileStepwise(
  outputs: Readonly<Record<string, Value>>,
  o: StepwiseOptions,
): Promise<Program> {
  const { taps = [], changing, steady: expected = [], ...options } = o;
  const all = { ...outputs, ...tapped(outputs, taps) };
  const { prologue, rest } = hoist(all, new Set(changing));
  if (Object.keys(prologue).length === 0) return compile(rest, options);

  const leaves = inputTypes([...Object.values(prologue), ...Object.values(all)]);
  const names = Object.keys(inputTypes(Object.values(prologue)));
  let known: readonly { readonly given: Feeds; readonly hoisted: Feeds }[] = [];

  const recall = (feeds: Feeds): Feeds | undefined =>
    known.find(({ given }) => names.every((name) => given[name] === feeds[name]))?.hoisted;
  const computeAll = async (sets: readonly Feeds[]): Promise<void> => {
    const once = await compile(prologue, options);
    try {
      for (const feeds of sets) {
        const given = Object.fromEntries(Object.entries(feeds).filter(([name]) => names.includes(name)));
        known = [{ given, hoisted: await once.run(given) }, ...known].slice(0, KEPT);
      }
    } finally {
      await once.dispose();
    }
  };

  if (expected.length > 0) await computeAll(expected);
  const step = await compile(rest, options);
  return program(leaves, step.outputs, {
    async run(feeds, into) {
      if (recall(feeds) === undefined) await computeAll([feeds]);
      const given = { ...feeds, ...recall(feeds) };
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
