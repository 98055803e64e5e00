/** Common subexpressions: of equal nodes on equal operands, one is kept. The law: every output has the values it had. */

import { numberText } from "../core/number-text.ts";
import type { Value } from "../graph/op.ts";
import { type Outputs, rewrite } from "./rewrite.ts";

/** JSON has no NaN and no infinities, and one zero: as text they stay apart. */
const kept = (_: string, value: unknown): unknown => (typeof value === "number" ? numberText(value) : value);

export function share(outputs: Outputs): Outputs {
  const first = new Map<string, Value>();
  return rewrite(outputs, (value) => {
    const key = [value.op.name, JSON.stringify(value.attrs, kept), ...value.inputs.map((x) => x.id)].join(
      " ",
    );
    const known = first.get(key);
    if (known !== undefined) return known;
    first.set(key, value);
    return value;
  });
}
