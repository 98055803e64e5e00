/**
 * Rows of a table by number.
 *
 *   op           gradient
 *   gather       scatterAdd (into the table; none into the ids)
 *   scatterAdd   gather
 */

import { check } from "../core/assert.ts";
import { type Attrs, apply, type None, type PrimitiveDef, type Value, whereNow } from "../graph/op.ts";
import { show, size } from "../tensor/shape.ts";

/** `table` [V, E], `ids` [...] int64 → [..., E]. */
export const gatherDef: PrimitiveDef<None> = {
  name: "gather",
  infer: ([table, ids]) => {
    check(table!.shape.length === 2 && ids!.dtype === "int64", "E_SHAPE", () => ({
      where: whereNow("gather"),
      expected: "a table [V, E] and int64 ids",
      got: `${show(table!.shape)} and ${ids!.dtype} ${show(ids!.shape)}`,
    }));
    return { dtype: table!.dtype, shape: [...ids!.shape, table!.shape[1]!] };
  },
  reference: ([table, ids], _, out) => {
    const width = table!.shape[1]!;
    return Float64Array.from(
      { length: size(out) },
      (_v, i) => table!.data[ids!.data[Math.floor(i / width)]! * width + (i % width)]!,
    );
  },
  vjp: (g, { inputs: [table, ids] }) => [scatterAdd(g, ids!, table!.shape[0]!), null],
  onnx: (e, inputs) => e.node("Gather", inputs, { axis: 0n }),
  flops: () => 0,
};
export const gather = (table: Value, ids: Value): Value => apply(gatherDef, [table, ids], {});

interface ScatterAttrs extends Attrs {
  /** V: rows of the result. */
  readonly rows: number;
}

/** `rows` [..., E] summed into the rows of a zero table [V, E] that `ids` [...] name. */
export const scatterAddDef: PrimitiveDef<ScatterAttrs> = {
  name: "scatterAdd",
  infer: ([g], { rows }) => ({ dtype: g!.dtype, shape: [rows, g!.shape.at(-1)!] }),
  reference: ([g, ids], _, out) => {
    const width = out[1]!;
    const table = new Float64Array(size(out));
    for (let i = 0; i < g!.data.length; i++)
      table[ids!.data[Math.floor(i / width)]! * width + (i % width)]! += g!.data[i]!;
    return table;
  },
  vjp: (g, { inputs: [, ids] }) => [gather(g, ids!), null],
  onnx: (e, [g, ids], _attrs, out, types) => {
    const zeros = e.node("Expand", [e.constant({ dtype: out.dtype, shape: [] }, [0]), e.ints(out.shape)]);
    const at = e.node("Reshape", [ids!, e.ints([...types[1]!.shape, 1])]);
    return e.node("ScatterND", [zeros, at, g!], { reduction: "add" });
  },
  flops: ([g]) => size(g!.shape),
};
export const scatterAdd = (g: Value, ids: Value, rows: number): Value =>
  apply(scatterAddDef, [g, ids], { rows });
