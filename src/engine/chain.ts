/**
 * A network in pieces that run one after another, of which one is in memory at a time: for weights that are larger than the
 * memory, at the price of reading them at every run. T5 blocks of XXL's width, float16 on disk, 300 tokens: a peak of 1.2 GB
 * with 2 blocks as with 6, where whole programs took 2.5 and 5.5 GB; twice the time (2 busy cores).
 */

import type { Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type CompileOptions, compile } from "./compile.ts";
import { type Program, program } from "./program.ts";

export interface ChainOptions extends CompileOptions {
  /** Which output of a piece becomes which input of the next. */
  readonly carry: { readonly output: string; readonly input: string };
  /** Ends a run before its next piece. */
  readonly signal?: AbortSignal;
}

/**
 * Runs `pieces` in turn and gives the last one's outputs. Nothing is compiled before a run, or kept after it.
 * @throws KoalaError at a run, what compiling throws; the signal's reason
 */
export function chain(pieces: readonly Readonly<Record<string, Value>>[], o: ChainOptions): Program {
  const { carry, signal, ...options } = o;
  const leaves = pieces.map((piece) =>
    topological(Object.values(piece)).filter(({ op }) => op.name === "input"),
  );
  const inputs = Object.fromEntries(
    leaves
      .flat()
      .flatMap(({ attrs, type }) => (attrs.name === carry.input ? [] : [[attrs.name as string, type]])),
  );
  const outputs = Object.fromEntries(
    Object.entries(pieces.at(-1) ?? {}).map(([name, { type }]) => [name, type]),
  );
  return program(inputs, outputs, {
    async run(feeds, into) {
      let results: Record<string, Tensor> = {};
      for (const [i, piece] of pieces.entries()) {
        signal?.throwIfAborted();
        const all = { ...feeds, [carry.input]: results[carry.output] as Tensor };
        const made = await compile(piece, options);
        try {
          const given = Object.fromEntries(
            Object.entries(all).filter(([name]) => made.inputs[name] !== undefined),
          );
          results = await made.run(given, i === pieces.length - 1 ? into : {});
        } finally {
          await made.dispose();
        }
      }
      return results;
    },
    dispose: () => Promise.resolve(),
  });
}
