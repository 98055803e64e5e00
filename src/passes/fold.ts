/**
 * Constant folding: a float32 node all of whose operands are constants becomes one, computed by the reference in float64
 * and rounded once. The law: every output has the values it had, within float32 rounding.
 */

import { interpret } from "../graph/interpret.ts";
import { labelled, type Value } from "../graph/op.ts";
import { constant } from "../ops/index.ts";
import { size } from "../tensor/shape.ts";
import { type Outputs, rewrite } from "./rewrite.ts";

/** References are plain loops and constants are kept as lists of numbers: larger ones are the engine's to fold. */
const MOST_ELEMENTS = 4096;

const isSmallFloat = (value: Value): boolean =>
  value.type.dtype === "float32" && size(value.shape) <= MOST_ELEMENTS;

export function fold(outputs: Outputs): Outputs {
  return rewrite(outputs, (value) => {
    const isFoldable =
      value.inputs.length > 0 &&
      value.op.name !== "tap" &&
      isSmallFloat(value) &&
      value.inputs.every((x) => x.op.name === "constant" && isSmallFloat(x));
    if (!isFoldable) return value;
    const values = interpret([value], new Map())[0]?.data ?? [];
    return labelled(value.label, () => constant(value.shape, values));
  });
}
