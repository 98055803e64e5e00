/** The recipe for weights alone: values stay floats, so that there is nothing to calibrate. */

import type { Outputs } from "../passes/rewrite.ts";
import type { Recipe } from "../tensor/quantized.ts";
import { inBlocksOf, planLayers } from "./plan.ts";

/** In blocks of at least `bits`; `outputs` is the network's graph, at any size. */
export function weightsRecipe(outputs: Outputs, bits: 4 | 8): Recipe {
  const layers = planLayers(outputs, "int4", new Set()).flatMap(({ layer, form }) =>
    typeof form === "string" ? [] : [[layer.weight, bits === 8 ? inBlocksOf(8) : form] as const],
  );
  return { layers: Object.fromEntries(layers) };
}
