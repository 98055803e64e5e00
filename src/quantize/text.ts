/** The recipe for a text encoder: it runs once a prompt, so only its size matters. */

import type { Value } from "../graph/op.ts";
import type { Recipe } from "../tensor/quantized.ts";
import { type Format, inBlocksOf, planLayers } from "./plan.ts";

/** `outputs`: its graph, at any size. */
export function textRecipe(outputs: Readonly<Record<string, Value>>, format: Format): Recipe {
  const plan = planLayers(outputs, format, new Set());
  return {
    layers: Object.fromEntries(
      plan.map(({ layer, form }) => [layer.weight, typeof form === "string" ? inBlocksOf(8) : form]),
    ),
  };
}
