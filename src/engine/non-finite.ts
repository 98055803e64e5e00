/** Where a NaN or an infinity came from: the graph again, with every tap as an output. */

import type { Value } from "../graph/op.ts";
import { tapsOf } from "../graph/order.ts";
import { type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { type CompileOptions, compile } from "./compile.ts";

/** Taps a run: all at once would keep every intermediate value in memory. */
const TAPS_A_RUN = 32;

/**
 * The name of the first tap, in graph order, that holds a value that is not finite when `feeds` are given; null where
 * every tap is finite. Compiles the graph anew for every few taps: slow, for when a step has failed.
 */
export async function firstNonFinite(
  outputs: Readonly<Record<string, Value>>,
  feeds: Readonly<Record<string, Tensor>>,
  o: Omit<CompileOptions, "taps">,
): Promise<string | null> {
  const taps = [...tapsOf(Object.values(outputs))];
  for (let i = 0; i < taps.length; i += TAPS_A_RUN) {
    const results = await runOnce(Object.fromEntries(taps.slice(i, i + TAPS_A_RUN)), feeds, o);
    for (const [name, t] of Object.entries(results)) if (!isFiniteTensor(t)) return name;
  }
  return null;
}

/** Whether no element is NaN or an infinity; integers always are. */
export const isFiniteTensor = (t: Tensor): boolean =>
  !t.dtype.includes("float") || toFloat32(t).every(Number.isFinite);

async function runOnce(
  outputs: Readonly<Record<string, Value>>,
  feeds: Readonly<Record<string, Tensor>>,
  o: Omit<CompileOptions, "taps">,
): Promise<Record<string, Tensor>> {
  const made = await compile(outputs, o);
  try {
    const used = Object.fromEntries(
      Object.entries(feeds).filter(([name]) => made.inputs[name] !== undefined),
    );
    return await made.run(used);
  } finally {
    await made.dispose();
  }
}
