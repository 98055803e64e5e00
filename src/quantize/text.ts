/** The recipe for a text encoder: it runs once a prompt, so only its size matters. */

import { buildClipText, type ClipTextConfig } from "../models/clip-text.ts";
import type { Recipe } from "../tensor/quantized.ts";
import { type Format, inBlocksOf, planLayers } from "./plan.ts";

export function textRecipe(config: ClipTextConfig, format: Format): Recipe {
  const { outputs } = buildClipText(config, { batch: 1, tokens: config.positions });
  const plan = planLayers(outputs, format, new Set());
  return {
    layers: Object.fromEntries(
      plan.map(({ layer, form }) => [layer.weight, typeof form === "string" ? inBlocksOf(8) : form]),
    ),
  };
}
