/** An optimizer at work: its state for the tensors of a layout, and the programs that write weights and state in place. */

import { check } from "../../core/assert.ts";
import { compile } from "../../engine/compile.ts";
import type { Program } from "../../engine/program.ts";
import type { TensorType, Value } from "../../graph/op.ts";
import { input, mul, sub } from "../../ops/index.ts";
import { allocate, dtypes } from "../../tensor/dtype.ts";
import { type Shape, show, size } from "../../tensor/shape.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { checkAliases } from "../aliases.ts";
import { type Arena, arenaBytes, type Layout, makeArena } from "../arena.ts";
import { compileFlat, noStore, ofUpdates, scalarTensor, type TrainEngine } from "../flat.ts";
import type { Optimizer, Transform } from "./transform.ts";

export interface UpdateOptions {
  readonly weights: Arena;
  readonly gradients: Arena;
  /** Counted from 1. */
  readonly step: number;
  /** The learning rate. */
  readonly rate: number;
  /** The gradients are multiplied by it first: clipping, and one over the number of batches that were summed. */
  readonly scale: number;
}

export interface RunningOptimizer {
  /** Everything that it remembers, by `<transform>.<key>/<parameter>`: what a checkpoint holds. Views: writing restores. */
  readonly state: ReadonlyMap<string, Tensor>;
  update(o: UpdateOptions): Promise<void>;
  dispose(): Promise<void>;
}

/** @throws KoalaError E_GRAPH when two transforms share a name, E_ENGINE */
export async function startOptimizer(
  optimizer: Optimizer,
  layout: Layout,
  o: TrainEngine,
): Promise<RunningOptimizer> {
  const names = optimizer.transforms.map((t) => t.name);
  check(new Set(names).size === names.length, "E_GRAPH", () => ({
    where: `optimizer ${optimizer.name}`,
    expected: "transforms of different names",
    got: names.join(", "),
  }));
  return isOverTensors(optimizer) ? overTensors(optimizer, layout, o) : overElements(optimizer, layout, o);
}

const scalarsOf = ({ transforms }: Optimizer, step: number, rate: number, scale: number) => ({
  scale,
  ...Object.fromEntries(
    transforms.flatMap((t) =>
      Object.entries(t.scalars(step, rate)).map(([key, x]) => [`${t.name}.${key}`, x] as const),
    ),
  ),
});

/** Types of a transform's state for a weight of that shape, by key. */
function stateTypes(t: Transform, shape: Shape): Readonly<Record<string, TensorType>> {
  if (t.unit === "tensor") return t.state(shape);
  const entries = Object.entries(t.state).map(([key, { dtype, per }]): [string, TensorType] => [
    key,
    { dtype, shape: per === 1 ? shape : [size(shape) / per] },
  ]);
  return Object.fromEntries(entries);
}

const isOverTensors = ({ transforms }: Optimizer): boolean => transforms.some((t) => t.unit === "tensor");

/** What the optimizer will remember of the tensors of a layout, in bytes. */
export function stateBytes(optimizer: Optimizer, layout: Layout): number {
  if (!isOverTensors(optimizer))
    return optimizer.transforms
      .flatMap((t) => (t.unit === "elements" ? Object.values(t.state) : []))
      .reduce((sum, spec) => sum + arenaBytes(layout, spec), 0);
  return [...layout.slots.values()]
    .flatMap(({ shape }) => optimizer.transforms.flatMap((t) => Object.values(stateTypes(t, shape))))
    .reduce((sum, { dtype, shape }) => sum + dtypes[dtype].bytes * size(shape), 0);
}

/** One update of a weight of that shape: inputs `weight`, `gradient`, scalars and state; results `new.…` over them. */
export function updateGraph({ transforms }: Optimizer, shape: Shape): Readonly<Record<string, Value>> {
  const weight = input("weight", { shape });
  let update = mul(input("gradient", { shape }), input("scale", { shape: [] }));
  const results: Record<string, Value> = {};
  for (const t of transforms) {
    const fed = (types: Readonly<Record<string, TensorType>>): Record<string, Value> =>
      Object.fromEntries(
        Object.entries(types).map(([key, type]) => [key, input(`${t.name}.${key}`, type)] as const),
      );
    const scalar: TensorType = { dtype: "float32", shape: [] };
    const scalars = fed(
      Object.fromEntries(Object.keys(t.scalars(1, 0)).map((key) => [key, scalar] as const)),
    );
    const made = t.apply(update, { weight, state: fed(stateTypes(t, shape)), scalars });
    update = made.update;
    for (const [key, value] of Object.entries(made.state)) results[`new.${t.name}.${key}`] = value;
  }
  return { "new.weight": sub(weight, update), ...results };
}

async function overElements(optimizer: Optimizer, layout: Layout, o: TrainEngine): Promise<RunningOptimizer> {
  const arenas: Record<string, Arena> = {};
  for (const t of optimizer.transforms)
    if (t.unit === "elements")
      for (const [key, spec] of Object.entries(t.state)) arenas[`${t.name}.${key}`] = makeArena(layout, spec);
  const program = await compileFlat(layout, (piece) => updateGraph(optimizer, [piece]), o);
  return {
    state: new Map(
      Object.entries(arenas).flatMap(([key, arena]) =>
        [...arena.tensors].map(([name, t]) => [`${key}/${name}`, t] as const),
      ),
    ),
    async update({ weights, gradients, step, rate, scale }) {
      const operands = { ...arenas, weight: weights, gradient: gradients };
      await program.run(operands, scalarsOf(optimizer, step, rate, scale));
    },
    dispose: () => program.dispose(),
  };
}

/** One program a shape: the layers of a network share a few dozen. */
async function overTensors(optimizer: Optimizer, layout: Layout, o: TrainEngine): Promise<RunningOptimizer> {
  const programs = new Map<string, Program>();
  const states = new Map<string, Readonly<Record<string, Tensor>>>();
  for (const [name, { shape }] of layout.slots) {
    const types = optimizer.transforms.flatMap((t) =>
      Object.entries(stateTypes(t, shape)).map(([key, type]) => [`${t.name}.${key}`, type] as const),
    );
    const zeros = types.map(([key, type]): [string, Tensor] => [
      key,
      { ...type, data: allocate(type.dtype, size(type.shape)) },
    ]);
    states.set(name, Object.fromEntries(zeros));
    if (programs.has(show(shape))) continue;
    const graph = updateGraph(optimizer, shape);
    checkAliases(graph);
    programs.set(show(shape), await compile(graph, { ...o, ...ofUpdates, store: noStore }));
  }
  return {
    state: new Map(
      [...states].flatMap(([name, own]) =>
        Object.entries(own).map(([key, t]) => [`${key}/${name}`, t] as const),
      ),
    ),
    async update({ weights, gradients, step, rate, scale }) {
      const numbers = Object.entries(scalarsOf(optimizer, step, rate, scale)).map(
        ([key, x]) => [key, scalarTensor(x)] as const,
      );
      for (const [name, { shape }] of layout.slots) {
        const program = programs.get(show(shape)) as Program;
        const own = { ...states.get(name), weight: weights.tensors.get(name) as Tensor };
        const feeds = {
          ...own,
          gradient: gradients.tensors.get(name) as Tensor,
          ...Object.fromEntries(numbers.filter(([key]) => program.inputs[key] !== undefined)), // not all shapes need all
        };
        const into = Object.fromEntries(Object.entries(own).map(([key, t]) => [`new.${key}`, t] as const));
        await program.run(feeds, into);
      }
    },
    async dispose() {
      for (const program of programs.values()) await program.dispose();
    },
  };
}
