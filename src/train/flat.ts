/** A program over arenas, piece by piece: what treats every element alike. Results may be written over the operands. */

import { type CompileOptions, compile } from "../engine/compile.ts";
import type { Value } from "../graph/op.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { checkAliases } from "./aliases.ts";
import { type Arena, type Layout, pieceOf } from "./arena.ts";

export type TrainEngine = Pick<CompileOptions, "engine" | "threads">;

/**
 * How graphs that move weights compute, whatever forward and backward do: a step of 1e-4 of a weight would be lost in the 8 bits
 * of bf16; and they are many and short, such as Muon's, one a shape.
 */
export const ofUpdates = { precision: "f32", isBusy: false } as const;

/** The store of graphs whose weights are all fed. */
export const noStore: CompileOptions["store"] = {
  tensors: new Map(),
  read: (name) => Promise.reject(new Error(`no weight ${name} is stored`)),
};

export const scalarTensor = (x: number): Tensor => ({
  dtype: "float32",
  shape: [],
  data: Float32Array.of(x),
});

export interface FlatProgram {
  /**
   * One pass over all pieces. Inputs are arenas or scalars by name; the result `new.x` is written over the arena `x`.
   * Gives, a piece an entry, the results that are no arena's.
   */
  run(
    arenas: Readonly<Record<string, Arena>>,
    scalars?: Readonly<Record<string, number>>,
  ): Promise<Record<string, Tensor>[]>;
  dispose(): Promise<void>;
}

/** Compiles `build(piece)`, a graph of one-dimensional inputs of `piece` elements. */
export async function compileFlat(
  layout: Layout,
  build: (piece: number) => Readonly<Record<string, Value>>,
  o: TrainEngine,
): Promise<FlatProgram> {
  const outputs = build(layout.piece);
  checkAliases(outputs);
  const program = await compile(outputs, { ...o, ...ofUpdates, store: noStore });
  const names = Object.keys(program.inputs);
  const results = Object.keys(program.outputs);

  return {
    async run(arenas, scalars = {}) {
      const numbers = Object.fromEntries(Object.entries(scalars).map(([k, x]) => [k, scalarTensor(x)]));
      const left: Record<string, Tensor>[] = [];
      for (const [slab, length] of layout.slabs.entries())
        for (let index = 0; index < length / layout.piece; index++) {
          const feeds: Record<string, Tensor> = {};
          const into: Record<string, Tensor> = {};
          for (const name of names) {
            const arena = arenas[name];
            const feed = arena === undefined ? numbers[name] : pieceOf(arena, slab, index);
            if (feed !== undefined) feeds[name] = feed;
          }
          for (const name of results) {
            const own = name.startsWith("new.") ? feeds[name.slice("new.".length)] : undefined;
            if (own !== undefined) into[name] = own;
          }
          const made = await program.run(feeds, into);
          const kept = Object.entries(made).filter(([name]) => into[name] === undefined);
          left.push(Object.fromEntries(kept));
        }
      return left;
    },
    dispose: () => program.dispose(),
  };
}
