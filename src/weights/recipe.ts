/** `koala_quantization.json`, which lies beside a component's `config.json` when its weights are stored as integers. */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import type { ChannelsRecipe, LayerRecipe, Recipe } from "../tensor/quantized.ts";
import type { ModelFiles } from "./files.ts";
import { readJson } from "./json.ts";

export const RECIPE_FILE = "koala_quantization.json";

/**
 * The recipe in parsed JSON.
 * @throws KoalaError E_CONFIG
 */
export function parseRecipe(json: unknown, where: string): Recipe {
  const fail = (at: string, expected: string, got: unknown): never => {
    throw new KoalaError("E_CONFIG", {
      where: `${where}: ${at}`,
      expected,
      got: JSON.stringify(got)?.slice(0, 60) ?? "nothing",
    });
  };
  if (!isObject(json) || !isObject(json.layers)) return fail("layers", "an object of layers", json);
  const layers: Record<string, LayerRecipe> = {};
  for (const [name, value] of Object.entries(json.layers)) {
    const layer = parseLayer(value);
    layers[name] = layer ?? fail(name, "a layer in blocks or in channels", value);
  }
  return { layers };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function parseLayer(value: unknown): LayerRecipe | null {
  if (!isObject(value)) return null;
  const { kind, bits, block, input, output } = value;
  if (kind === "blocks") {
    const isBlock = typeof block === "number" && block >= 16 && Number.isInteger(Math.log2(block));
    return (bits === 4 || bits === 8) && isBlock ? { kind, bits, block } : null;
  }
  const isFit = kind === "channels" && isRounding(input) && (output === undefined || isRounding(output));
  if (!isFit) return null;
  return output === undefined ? { kind, input } : { kind, input, output };
}

const isRounding = (value: unknown): value is ChannelsRecipe["input"] =>
  isObject(value) &&
  typeof value.scale === "number" &&
  Number.isFinite(value.scale) &&
  value.scale > 0 &&
  Number.isInteger(value.zero) &&
  (value.zero as number) >= 0 &&
  (value.zero as number) <= 255;

/** What the folder of a quantized pipeline says of itself, in `koala_quantization.json` at its root. */
export interface QuantizationRecord {
  readonly format: string;
  /** What it was made of: its files and what each was known by then. */
  readonly source: { readonly location: string; readonly files: Readonly<Record<string, string>> };
  /** Sizes in bytes of the files that belong to it. */
  readonly files: Readonly<Record<string, number>>;
}

/** @throws KoalaError E_CONFIG */
export function parseRecord(json: unknown, where: string): QuantizationRecord {
  const isRecord =
    isObject(json) &&
    typeof json.format === "string" &&
    isObject(json.source) &&
    typeof json.source.location === "string" &&
    isObject(json.source.files) &&
    isObject(json.files);
  if (!isRecord)
    throw new KoalaError("E_CONFIG", {
      where,
      expected: "a record of koala quantize: format, source and files",
      got: "something else",
    });
  return json as unknown as QuantizationRecord;
}

/**
 * The record of a quantized folder whose files are all there; null for a folder that is none.
 * @throws KoalaError E_MODEL when a file is missing or of another size, E_CONFIG, E_FILE
 */
export async function readRecord(files: ModelFiles): Promise<QuantizationRecord | null> {
  const paths = new Set(await files.list());
  if (!paths.has(RECIPE_FILE)) return null;
  const record = parseRecord(await readJson(files, RECIPE_FILE), `${files.location}/${RECIPE_FILE}`);
  for (const [path, bytes] of Object.entries(record.files)) {
    const got = paths.has(path) ? `${await files.size(path)} bytes` : "no such file";
    check(got === `${bytes} bytes`, "E_MODEL", () => ({
      where: `${files.location}/${path}`,
      expected: `the ${bytes} bytes that koala quantize wrote`,
      got,
      hint: "The folder is not whole: copy it again, or quantize the model again.",
    }));
  }
  return record;
}
