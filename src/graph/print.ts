/** The text form of a graph: for snapshots, `inspect` and bug reports. Numbered from 0, so it does not depend on history. */

import type { Attrs, Value } from "./op.ts";
import { topological } from "./order.ts";

const attributes = (attrs: Attrs): string => {
  const shown = Object.entries(attrs).map(([key, value]) => {
    const text =
      Array.isArray(value) && value.length > 16
        ? `[${value.length} values ${hash(value.join())}]`
        : JSON.stringify(value);
    return `${key}=${text}`;
  });
  return shown.length === 0 ? "" : ` {${shown.join(" ")}}`;
};

/** One line a node: `%3 = add(%1, %2) : float32[2, 3]  # down_blocks.0`. */
export function print(outputs: readonly Value[]): string {
  const order = topological(outputs);
  const number = new Map(order.map((value, i) => [value, `%${i}`]));
  const lines = order.map((value) => {
    const operands = value.inputs.map((x) => number.get(x)).join(", ");
    const label = value.label === "" ? "" : `  # ${value.label}`;
    const type = `${value.type.dtype}[${value.shape.join(", ")}]`;
    return `${number.get(value)} = ${value.op.name}(${operands})${attributes(value.attrs)} : ${type}${label}`;
  });
  return [...lines, `return ${outputs.map((value) => number.get(value)).join(", ")}`, ""].join("\n");
}

/** A graph in a few lines: nodes of each op, and a hash of the whole text. Equal digests: the same graph. */
export function digest(outputs: readonly Value[]): string {
  const counts = new Map<string, number>();
  for (const { op } of topological(outputs)) counts.set(op.name, (counts.get(op.name) ?? 0) + 1);
  const rows = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, n]) => `${name} ${n}`);
  return [...rows, `hash ${hash(print(outputs))}`, ""].join("\n");
}

/** FNV-1a over UTF-16 units, twice with different offsets: 64 bits, for telling texts apart, not for secrets. */
function hash(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x9747b28c;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, 0x01000193);
    b = Math.imul(b ^ unit, 0x01000193);
  }
  return [a, b].map((x) => (x >>> 0).toString(16).padStart(8, "0")).join("");
}
