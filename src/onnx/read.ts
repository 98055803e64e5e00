/** What is in a serialized model, for tests and `inspect`. */

import { decodeModel, type ProtoModel } from "./proto.ts";

/** @throws KoalaError E_ONNX */
export const readModel = (bytes: Uint8Array, where = "model.onnx"): ProtoModel => decodeModel(bytes, where);

/** Nodes of each type, most frequent first; contrib types carry their domain. */
export function nodeTypes(model: ProtoModel): [type: string, count: number][] {
  const counts = new Map<string, number>();
  for (const { type, domain } of model.nodes) {
    const name = domain === "" ? type : `${domain}.${type}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
}
