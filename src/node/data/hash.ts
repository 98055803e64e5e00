/** Names made of contents: SHA-256, as many digits as a cache needs. */

import { createHash } from "node:crypto";
import type { TensorStore } from "../../tensor/stored.ts";

/** 128 bits: two of 10¹² pictures share a name with a chance of 10⁻¹⁵. */
const digits = 32;

/** Of bytes, or of a text's UTF-8: 32 hexadecimal digits. */
export const contentHash = (content: string | Uint8Array): string =>
  createHash("sha256").update(content).digest("hex").slice(0, digits);

/** Of the named tensors: names, types, shapes and every byte, so that weights trained further are other weights. */
export async function fingerprint(store: TensorStore, names: Iterable<string>): Promise<string> {
  const hash = createHash("sha256");
  for (const name of [...names].sort()) {
    const { dtype, shape, data } = await store.read(name);
    hash.update(JSON.stringify([name, dtype, shape]));
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest("hex").slice(0, digits);
}
