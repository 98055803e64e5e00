/**
 * The losses and the gradients of a graph as a sequence of graphs: forward segments that keep only what later ones need, the
 * last segment forward and backward in one, then backward segments that compute their inside again. Cut nowhere, it is one
 * graph. They are separate programs because inside one an engine's common-subexpression pass undoes the recomputation.
 */

import { pullback } from "../autodiff/grad.ts";
import { check } from "../core/assert.ts";
import { nearest } from "../core/nearest.ts";
import type { Value } from "../graph/op.ts";
import { tapsOf, topological } from "../graph/order.ts";
import { add, constant, input, mul } from "../ops/index.ts";
import { withInputs } from "../passes/rewrite.ts";
import type { Tensor } from "../tensor/tensor.ts";

export interface Objective {
  /** The terms of the loss, each of shape []. */
  readonly terms: Readonly<Record<string, Value>>;
  /** What each is multiplied by in the loss; absent: 1. A term of factor 0 is only reported. */
  readonly factors?: Readonly<Record<string, number>>;
  /** Where batches come in several sizes, of which that of `terms` is one. */
  readonly sized?: Sized;
}

/** The same losses, over the same leaves, at the size of a batch. */
export type Sized = (batch: Readonly<Record<string, Tensor>>) => Objective;

/** One graph of the sequence. Its inputs are fed from the batch, the weights, or what earlier graphs gave. */
export interface Segment {
  readonly kind: "forward" | "backward" | "last";
  /**
   * `kept.i`: a value for later segments; `cotangent.i`: the gradient by such a value, the whole so far;
   * `term.x`: a loss term; `gradient.x`: by the weight x, the whole so far.
   */
  readonly outputs: Readonly<Record<string, Value>>;
}

const LEAVES: ReadonlySet<string> = new Set(["param", "input", "constant"]);
const isLeaf = (x: Value): boolean => LEAVES.has(x.op.name);

/** The loss that is differentiated: the weighted sum of the terms. */
export function totalOf({ terms, factors = {} }: Objective): Value {
  const parts = Object.entries(terms).flatMap(([name, term]) => {
    const factor = factors[name] ?? 1;
    return factor === 0 ? [] : [factor === 1 ? term : mul(term, factor)];
  });
  return parts.length === 0 ? constant([], [0]) : parts.reduce(add);
}

/**
 * The sequence in which to run. `weights` are the leaves to differentiate by, under their names; `cuts` name taps, in any
 * order, at which a segment ends.
 * @throws KoalaError E_GRAPH for a cut that is no tap, and for a weight with no differentiable path to the loss
 */
export function segmentsOf(
  objective: Objective,
  weights: ReadonlyMap<string, Value>,
  cuts: readonly string[] = [],
): Segment[] {
  const total = totalOf(objective);
  const targets = [total, ...Object.values(objective.terms)];
  const ends = cutValues(targets, cuts);
  const stageOf = assignStages(targets, ends);
  const last = ends.length;
  const kept = keptValues(targets, stageOf);
  const index = new Map([...kept.keys()].map((value, i) => [value, i]));
  const nameOf = (kind: string, value: Value): string => `${kind}.${index.get(value)}`;

  const forward = Array.from({ length: last }, (_, stage): Segment => {
    const wanted = [...kept.keys()].filter((value) => stageOf.get(value) === stage);
    const { of } = isolate(wanted, stage, kept, stageOf, nameOf);
    return {
      kind: "forward",
      outputs: Object.fromEntries(wanted.map((value) => [nameOf("kept", value), of(value)])),
    };
  });

  const reached = new Set<string>();
  const backward: Segment[] = [];
  for (let stage = last; stage >= 0; stage--) {
    const isLast = stage === last;
    const sources = isLast
      ? targets
      : [...kept.keys()].filter((v) => stageOf.get(v) === stage && reached.has(nameOf("cotangent", v)));
    if (sources.length === 0) continue;
    const { of, entries } = isolate(sources, stage, kept, stageOf, nameOf);
    const outputs: Record<string, Value> = {};
    if (isLast)
      for (const [name, term] of Object.entries(objective.terms)) outputs[`term.${name}`] = of(term);
    const seeds = isLast
      ? [[of(total), constant([], [1])] as const]
      : sources.map((v) => [of(v), input(nameOf("cotangent", v), v.type)] as const);
    const wrt = [
      ...[...entries].map(([value, leaf]) => [nameOf("cotangent", value), leaf] as const),
      ...[...weights].map(([name, leaf]) => [`gradient.${name}`, leaf] as const),
    ].filter(([, leaf]) => leaf.type.dtype === "float32");
    const cotangents = pullback(
      seeds,
      wrt.map(([, leaf]) => leaf),
    );
    for (const [i, [name, leaf]] of wrt.entries()) {
      const cotangent = cotangents[i];
      if (cotangent == null) continue;
      outputs[name] = reached.has(name) ? add(cotangent, input(sofar(name), leaf.type)) : cotangent;
      reached.add(name);
    }
    backward.push({ kind: isLast ? "last" : "backward", outputs });
  }
  for (const name of weights.keys())
    check(reached.has(`gradient.${name}`), "E_GRAPH", () => ({
      where: name,
      expected: "a differentiable path to the loss",
      got: "none",
    }));
  return [...forward, ...backward];
}

/** The input through which a later graph gets what `name` was before it. */
export const sofar = (name: string): string => `sofar.${name}`;

/** The taps that `cuts` name, each once and in the order of the graph: a segment that ends before its like has no outputs. */
function cutValues(targets: readonly Value[], cuts: readonly string[]): Value[] {
  const taps = tapsOf(targets);
  const values = cuts.map((name) => {
    const value = taps.get(name);
    check(value !== undefined, "E_GRAPH", () => {
      const near = nearest(name, taps.keys(), 3);
      return {
        where: `cut ${name}`,
        expected: `one of the ${taps.size} taps of the graph`,
        got: "another name",
        ...(near.length === 0 ? {} : { hint: `Did you mean ${near.join(" or ")}?` }),
      };
    });
    return value;
  });
  return [...new Set(values)].sort((a, b) => a.id - b.id);
}

/** The segment that computes each value: the first whose end rests on it, else the last. */
function assignStages(targets: readonly Value[], ends: readonly Value[]): Map<Value, number> {
  const stageOf = new Map<Value, number>();
  for (const [stage, end] of ends.entries())
    for (const node of topological([end], stageOf)) stageOf.set(node, stage);
  for (const node of topological(targets, stageOf)) stageOf.set(node, ends.length);
  return stageOf;
}

/** Values that a later segment than their own reads, in graph order. */
function keptValues(targets: readonly Value[], stageOf: ReadonlyMap<Value, number>): Map<Value, true> {
  const last = Math.max(...stageOf.values());
  const kept = new Set<Value>();
  const stage = (x: Value): number => stageOf.get(x) ?? last;
  for (const node of topological(targets))
    for (const x of node.inputs) if (!isLeaf(x) && stage(x) < stage(node)) kept.add(x);
  for (const x of targets) if (!isLeaf(x) && stage(x) < last) kept.add(x);
  return new Map([...kept].sort((a, b) => a.id - b.id).map((x) => [x, true]));
}

/** The graph of `wanted` with what earlier segments kept as inputs: `of` gives the values in it, `entries` those inputs. */
function isolate(
  wanted: readonly Value[],
  stage: number,
  kept: ReadonlyMap<Value, true>,
  stageOf: ReadonlyMap<Value, number>,
  nameOf: (kind: string, value: Value) => string,
): { of: (value: Value) => Value; entries: ReadonlyMap<Value, Value> } {
  const made = new Map<Value, Value>();
  const entries = new Map<Value, Value>();
  const of = (value: Value): Value => made.get(value) ?? value;
  const isEntry = (value: Value): boolean => kept.has(value) && (stageOf.get(value) ?? stage) < stage;
  const boundary = new Set([...kept.keys()].filter(isEntry));
  // ids of the entries are newer than those of what they replace, so users are rebuilt in the old order
  for (const value of topological(wanted, boundary)) {
    for (const x of value.inputs)
      if (boundary.has(x) && !entries.has(x)) {
        const leaf = input(nameOf("kept", x), x.type);
        entries.set(x, leaf);
        made.set(x, leaf);
      }
    made.set(value, withInputs(value, value.inputs.map(of)));
  }
  for (const value of wanted)
    if (boundary.has(value) && !entries.has(value)) {
      const leaf = input(nameOf("kept", value), value.type);
      entries.set(value, leaf);
      made.set(value, leaf);
    }
  return { of, entries };
}
