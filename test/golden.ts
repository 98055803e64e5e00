/** Reading test/golden: JSON as Python writes it, and small safetensors files. */

import { readFileSync } from "node:fs";
import { parseJson } from "../src/core/json.ts";
import type { TypedArray } from "../src/tensor/dtype.ts";

const root = new URL("golden/", import.meta.url);

// biome-ignore lint/suspicious/noExplicitAny: goldens are described in test/golden/README.md, not by types
export const goldenJson = (path: string): any => parseJson(readFileSync(new URL(path, root), "utf8"));

export interface GoldenTensor<Data extends TypedArray = Float32Array<ArrayBuffer>> {
  readonly shape: readonly number[];
  readonly data: Data;
}

interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** All tensors of a file, by name: float32 ones as Float32Array, uint8 ones as Uint8Array. */
export function goldenTensors(path: string): Map<string, GoldenTensor<TypedArray>> {
  const bytes = readFileSync(new URL(path, root));
  const at = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, at)) as Record<string, HeaderEntry>;
  const tensors = new Map<string, GoldenTensor<TypedArray>>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [from, to] = entry.data_offsets;
    const copy = new Uint8Array(bytes.subarray(at + from, at + to));
    tensors.set(name, {
      shape: entry.shape,
      data: entry.dtype === "U8" ? copy : new Float32Array(copy.buffer),
    });
  }
  return tensors;
}
