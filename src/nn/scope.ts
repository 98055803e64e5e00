/**
 * Parameter names are the path that is walked: `s.at("down_blocks", 0).param("weight", …)` is the
 * checkpoint's `down_blocks.0.weight`. A parameter is made once; asking again returns the same value.
 */

import { check } from "../core/assert.ts";
import type { Value } from "../graph/op.ts";
import { input, param } from "../ops/index.ts";
import { type Shape, sameShape, show } from "../tensor/shape.ts";

/** How a fresh parameter is drawn: a constant, or a uniform in ±bound, or a normal of that deviation. */
export type Init =
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "uniform"; readonly bound: number }
  | { readonly kind: "normal"; readonly std: number };

export const ones: Init = { kind: "constant", value: 1 };
export const zeros: Init = { kind: "constant", value: 0 };
/** PyTorch's default for linear and convolution weights and biases: uniform in ±1/√fanIn (`nn.Linear.reset_parameters`). */
export const fanIn = (n: number): Init => ({ kind: "uniform", bound: 1 / Math.sqrt(n) });
export const normal = (std: number): Init => ({ kind: "normal", std });

export interface Parameter {
  readonly name: string;
  readonly value: Value;
  readonly init: Init;
}

/** How a parameter of that full name becomes a node. */
export type Leaf = (name: string, shape: Shape) => Value;

/** A parameter that is fed at every run: training changes it from step to step. */
export const fedLeaf: Leaf = (name, shape) => input(name, { shape });

export class Scope {
  readonly path: string;
  /** Shared by all scopes of a model, in the order of first use. */
  readonly parameters: Map<string, Parameter>;
  /** `param`, a weight that lies in a store, unless the caller wants another leaf. */
  readonly leaf: Leaf;

  constructor(path = "", parameters: Map<string, Parameter> = new Map(), leaf: Leaf = param) {
    this.path = path;
    this.parameters = parameters;
    this.leaf = leaf;
  }

  at(...parts: readonly (string | number)[]): Scope {
    const path = this.path === "" ? parts.join(".") : [this.path, ...parts].join(".");
    return new Scope(path, this.parameters, this.leaf);
  }

  /** @throws KoalaError E_GRAPH when the name was made before with another shape */
  param(name: string, shape: Shape, init: Init): Value {
    const full = this.path === "" ? name : `${this.path}.${name}`;
    const known = this.parameters.get(full);
    if (known === undefined) {
      const value = this.leaf(full, shape);
      this.parameters.set(full, { name: full, value, init });
      return value;
    }
    check(sameShape(known.value.shape, shape), "E_GRAPH", () => ({
      where: full,
      expected: `the shape it was made with, ${show(known.value.shape)}`,
      got: show(shape),
    }));
    return known.value;
  }
}
