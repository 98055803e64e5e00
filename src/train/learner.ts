/**
 * What of a network learns: all of its weights, or low-rank additions to weights that stay. A network is built with the
 * learner's leaves, and the run trains what came of it.
 */

import type { Value } from "../graph/op.ts";
import { fanIn, fedLeaf, type Leaf, type Parameter, Scope, zeros } from "../nn/index.ts";
import { param } from "../ops/index.ts";
import { type Adapter, adapt } from "../passes/lora.ts";
import { size } from "../tensor/shape.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { deriveStore } from "../weights/stores.ts";
import { averageOf } from "./ema.ts";
import { noStore } from "./flat.ts";
import { type LoraTarget, loraNames, takesLora } from "./lora.ts";
import { freshStore } from "./tasks/fresh.ts";

export interface Learner {
  /** A weight by its checkpoint name, as a graph reads it. */
  readonly leaf: Leaf;
  /** The same with what learns replaced by its moving average. */
  readonly averaged: Leaf;
  /** What was asked for and learns, by the names of a checkpoint or of a LoRA file. */
  weights(): Map<string, Value>;
  /** Where that begins. */
  initial(): TensorStore;
  /** What the leaves read and does not learn. */
  readonly frozen: TensorStore;
}

/** All weights of a network, which begin as `store` has them. */
export function wholeLearner(store: TensorStore): Learner {
  const made = new Map<string, Value>();
  const averages = new Map<string, Value>();
  return {
    leaf: (name, shape) => once(made, name, () => fedLeaf(name, shape)),
    averaged: (name, shape) => once(averages, name, () => fedLeaf(averageOf(name), shape)),
    weights: () => new Map(made),
    initial: () => store,
    frozen: noStore,
  };
}

export interface LoraOptions {
  /** The network's folder in a model, by which its additions are called. */
  readonly network: string;
  readonly rank: number;
  readonly targets: readonly LoraTarget[];
  readonly seed: number;
}

/**
 * Additions of rank `o.rank` to the weights of `store` that `o.targets` name. The other weights, and what is added to, are
 * parameters under `prefix`, so that a network of the same weights can share them. A and B begin as PEFT begins them: A as
 * PyTorch's layers, B zero, so that the network begins as it was.
 */
export function loraLearner(store: TensorStore, prefix: string, o: LoraOptions): Learner {
  const parameters = new Map<string, Parameter>();
  const own = new Scope("", parameters, fedLeaf);
  const averages = new Map<string, Value>();
  const bases = new Map<string, Value>();
  const leaves = new Map<string, Value>();
  const averagedLeaves = new Map<string, Value>();

  function adapter(name: string, shape: readonly number[]): Adapter {
    const names = loraNames(o.network, name);
    const [outputs = 0, ...rest] = shape;
    const ones = rest.slice(1).map(() => 1);
    const down = own.param(names.down, [o.rank, ...rest], fanIn(size(rest)));
    return { down, up: own.param(names.up, [outputs, o.rank, ...ones], zeros), scale: 1 };
  }
  const average = (x: Value): Value =>
    once(averages, x.attrs.name as string, () => fedLeaf(averageOf(x.attrs.name as string), x.shape));
  const base: Leaf = (name, shape) => once(bases, name, () => param(prefix + name, shape));
  const adapted = (leaf: Value, use: Adapter): Value =>
    adapt({ weight: leaf }, new Map([[leaf.attrs.name as string, [use]]])).weight as Value;
  const leafOf =
    (made: Map<string, Value>, as: (a: Adapter) => Adapter): Leaf =>
    (name, shape) =>
      once(made, name, () =>
        takesLora(name, o.targets) ? adapted(base(name, shape), as(adapter(name, shape))) : base(name, shape),
      );
  return {
    leaf: leafOf(leaves, (a) => a),
    averaged: leafOf(averagedLeaves, ({ down, up, scale }) => ({
      ...{ down: average(down), up: average(up), scale },
    })),
    weights: () => new Map([...parameters].map(([name, { value }]) => [name, value])),
    initial: () => freshStore(new Map(parameters), o.seed),
    frozen: prefixed(store, prefix),
  };
}

/** The tensors of `store`, each under its name after `prefix`. */
export const prefixed = (store: TensorStore, prefix: string): TensorStore =>
  deriveStore(
    store,
    new Map([...store.tensors.keys()].map((name) => [prefix + name, { from: name }])),
    prefix,
  );

function once(made: Map<string, Value>, name: string, make: () => Value): Value {
  const known = made.get(name);
  if (known !== undefined) return known;
  const value = make();
  made.set(name, value);
  return value;
}

/** A scope for one more use of a network: its taps are called after `path`, its weights are `leaf`'s. */
export const useOf = (path: string, leaf: Leaf): Scope =>
  new Scope(path, new Map(), (name, shape) => leaf(name.slice(path.length + 1), shape));
