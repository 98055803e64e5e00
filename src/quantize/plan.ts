/** Which weight of a graph is stored how, read off what its layer does: no name of a checkpoint occurs here. */

import type { Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { type QuantizableLayer, quantizableLayers } from "../passes/quantize.ts";
import type { Outputs } from "../passes/rewrite.ts";
import type { BlocksRecipe } from "../tensor/quantized.ts";

export const formats = ["int8", "int4"] as const;
/** `int8`: products of integers where it pays, weights of 8 bits elsewhere; `int4`: weights of 4 bits, products of floats. */
export type Format = (typeof formats)[number];

/** 32 numbers share a float16 scale: 4.5 or 8.5 bits a weight. MatMulNBits is fastest at 32. */
export const inBlocksOf = (bits: 4 | 8): BlocksRecipe => ({ kind: "blocks", bits, block: 32 });

export interface LayerPlan {
  readonly layer: QuantizableLayer;
  /** `integers`: a product of integers, whose steps are to be calibrated. */
  readonly form: BlocksRecipe | "integers" | "float";
  /** Why it is no product of integers, or not of 4 bits. */
  readonly reason: string;
}

/**
 * `changing` names the inputs that differ from step to step; what rests on the others alone runs once a prompt, so that
 * its products cost nothing and only its size matters.
 */
export function planLayers(outputs: Outputs, format: Format, changing: ReadonlySet<string>): LayerPlan[] {
  const results = new Set(Object.values(outputs));
  const changes = valuesThatChange(outputs, changing);
  return quantizableLayers(outputs).map((layer) => ({ layer, ...formOf(layer, format, results, changes) }));
}

function formOf(
  { node, input, kind }: QuantizableLayer,
  format: Format,
  results: ReadonlySet<Value>,
  changes: ReadonlySet<Value>,
): Omit<LayerPlan, "layer"> {
  if (kind === "table") return { form: inBlocksOf(8), reason: "a table: its rows are read, not multiplied" };
  if (kind === "conv" && (input.op.name === "input" || results.has(node)))
    return { form: "float", reason: "the first or last layer, where every error shows" };
  if (input.shape.length === 2)
    return { form: inBlocksOf(8), reason: "one row a picture: little to compute, and it steers every layer" };
  if (format === "int4") return { form: inBlocksOf(4), reason: "" };
  if (!changes.has(input))
    return { form: inBlocksOf(8), reason: "runs once a prompt: products of integers gain nothing" };
  return { form: "integers", reason: "" };
}

function valuesThatChange(outputs: Outputs, changing: ReadonlySet<string>): ReadonlySet<Value> {
  const changes = new Set<Value>();
  for (const value of topological(Object.values(outputs))) {
    const isChanging =
      value.op.name === "input"
        ? changing.has(value.attrs.name as string)
        : value.inputs.some((x) => changes.has(x));
    if (isChanging) changes.add(value);
  }
  return changes;
}
