/**
 * How strongly a LoRA without `.alpha` tensors is meant: α / rank, where α is in the header that diffusers writes or in the
 * config that PEFT keeps beside the weights.
 *
 * Sources: diffusers 0.42, `save_lora_weights` (`lora_adapter_metadata`); PEFT 0.21, `LoraConfig` and `get_pattern_key`.
 */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { parseJson } from "../core/json.ts";

/** The factor of a layer's up · down, of that rank; the layer is a `LoraLayer`. */
export type LoraScale = (layer: { readonly part: string; readonly module: string }, rank: number) => number;

/** `LoraConfig.lora_alpha` where a config has none. */
const usualAlpha = 8;

/** Where PEFT keeps the config of an adapter's weights at `path`; null for a file that it would not call so. */
export const adapterConfigOf = (path: string): string | null =>
  /(^|\/)adapter_model\.safetensors$/.test(path)
    ? path.replace(/adapter_model\.safetensors$/, "adapter_config.json")
    : null;

/**
 * Of `adapter_config.json`, for all layers of the file; `where` names it in messages.
 * @throws KoalaError E_CONFIG
 */
export function peftScale(json: unknown, where: string): LoraScale {
  const scale = scaleOf(json, where);
  return ({ module }, rank) => scale(module, rank);
}

/**
 * Of a safetensors header whose `lora_adapter_metadata` holds a config's fields under `unet.`, `text_encoder.`, …; null where it
 * has none. Layers of a part that it does not speak of have the scale 1.
 * @throws KoalaError E_CONFIG
 */
export function headerScale(metadata: ReadonlyMap<string, string>, file: string): LoraScale | null {
  const text = metadata.get("lora_adapter_metadata");
  if (text === undefined) return null;
  const where = `${file} (lora_adapter_metadata)`;
  const fields = Object.entries(objectOf(jsonOf(text), where));
  const scales = new Map<string, (module: string, rank: number) => number>();
  for (const part of new Set(fields.map(([key]) => key.split(".")[0] ?? ""))) {
    const own = fields.filter(([key]) => key.startsWith(`${part}.`));
    const config = Object.fromEntries(own.map(([key, value]) => [key.slice(part.length + 1), value]));
    scales.set(part, scaleOf(config, where));
  }
  return ({ part, module }, rank) => scales.get(part)?.(module, rank) ?? 1;
}

function jsonOf(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return null;
  }
}

function objectOf(value: unknown, where: string): Record<string, unknown> {
  check(typeof value === "object" && value !== null && !Array.isArray(value), "E_CONFIG", () => ({
    where,
    expected: "a JSON object",
    got: JSON.stringify(value) ?? "nothing",
  }));
  return value as Record<string, unknown>;
}

function alphaOf(value: unknown, where: string): number {
  check(typeof value === "number" && Number.isFinite(value), "E_CONFIG", () => ({
    where,
    expected: "a number",
    got: JSON.stringify(value) ?? "nothing",
  }));
  return value;
}

/** A `LoraConfig`'s scale by module and rank. The ranks that it names are those of the matrices, which say them themselves. */
function scaleOf(json: unknown, where: string): (module: string, rank: number) => number {
  const config = objectOf(json, where);
  const alpha = alphaOf(config.lora_alpha ?? usualAlpha, `${where}: lora_alpha`);
  const patterns = Object.entries(objectOf(config.alpha_pattern ?? {}, `${where}: alpha_pattern`)).map(
    ([key, value]) => ({
      matches: matcher(key, `${where}: alpha_pattern`),
      alpha: alphaOf(value, `${where}: alpha_pattern.${key}`),
    }),
  );
  return (module, rank) => {
    const own = patterns.find(({ matches }) => matches(module))?.alpha ?? alpha;
    return own / (config.use_rslora === true ? Math.sqrt(rank) : rank);
  };
}

/** PEFT's `(.*\.)?(key)$`; a key is a regular expression, but is nearly always a plain name, of which there may be thousands. */
function matcher(key: string, where: string): (module: string) => boolean {
  if (/^\^[\w.]+$/.test(key)) return (module) => module === key.slice(1);
  if (/^[\w.]+$/.test(key)) return (module) => module === key || module.endsWith(`.${key}`);
  try {
    const pattern = new RegExp(`^(?:.*\\.)?(?:${key})$`);
    return (module) => pattern.test(module);
  } catch (cause) {
    throw new KoalaError("E_CONFIG", {
      where,
      expected: "names of layers, or regular expressions for them",
      got: JSON.stringify(key),
      cause,
    });
  }
}
