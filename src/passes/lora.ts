/**
 * Low-rank adapters: W becomes W + scale · up · down. Law: with adapters whose `up` is zero, the graph computes what it
 * computed. Engines fold the sum when they load, so a step costs nothing more; in training, `up` and `down` are leaves.
 *
 * Source: Hu et al. 2021, arXiv:2106.09685, section 4.1; convolutions as in kohya-ss/sd-scripts (`networks/lora.py`).
 */

import { check } from "../core/assert.ts";
import type { Value } from "../graph/op.ts";
import { add, matmul, mul, reshape } from "../ops/index.ts";
import { show, size } from "../tensor/shape.ts";
import { type Outputs, rewrite } from "./rewrite.ts";

/** One adapter of one weight. */
export interface Adapter {
  /** [R, inputs] or [R, inputs, kh, kw]. */
  readonly down: Value;
  /** [outputs, R] or [outputs, R, 1, 1]. */
  readonly up: Value;
  readonly scale: number;
}

/** What each weight of the graph, by its parameter name, gets added. */
export type Adapters = ReadonlyMap<string, readonly Adapter[]>;

/** up · down in the shape of the weight. @throws KoalaError E_SHAPE when the adapter is of another layer */
function delta(name: string, weight: Value, { down, up, scale }: Adapter): Value {
  const rank = down.shape[0] ?? 0;
  const outputs = weight.shape[0] ?? 0;
  const inputs = size(weight.shape.slice(1));
  const fits =
    size(down.shape) === rank * inputs && size(up.shape) === outputs * rank && up.shape[1] === rank;
  check(fits, "E_SHAPE", () => ({
    where: name,
    expected: `an adapter of a weight ${show(weight.shape)}`,
    got: `down ${show(down.shape)}, up ${show(up.shape)}`,
  }));
  const product = matmul(reshape(up, [outputs, rank]), reshape(down, [rank, inputs]));
  return reshape(mul(product, scale), weight.shape);
}

export function adapt(outputs: Outputs, adapters: Adapters): Outputs {
  if (adapters.size === 0) return outputs;
  return rewrite(outputs, (value) => {
    const name = value.op.name === "param" || value.op.name === "input" ? (value.attrs.name as string) : null;
    const own = name === null ? undefined : adapters.get(name);
    if (name === null || own === undefined) return value;
    return own.reduce((sum, adapter) => add(sum, delta(name, value, adapter)), value);
  });
}
