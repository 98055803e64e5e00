/** A program in fewer bits than float32, watched: where it yields NaN or infinity, it is compiled and run again in float32. */

import type { Precision } from "../runtime/session.ts";
import { isFiniteTensor } from "./non-finite.ts";
import type { Program } from "./program.ts";

export interface GuardOptions {
  readonly precision: Precision;
  compileIn(precision: Precision): Promise<Program>;
  /** Told once, before the run is done again. */
  onFallback(): void;
}

/**
 * Results that are not finite in float32 either are returned as they are: then the weights are at fault.
 * @throws KoalaError what compiling throws
 */
export async function guarded(o: GuardOptions): Promise<Program> {
  let current = await o.compileIn(o.precision);
  if (o.precision === "f32") return current;
  let isExact = false;
  return {
    inputs: current.inputs,
    outputs: current.outputs,
    async run(feeds, into) {
      const results = await current.run(feeds, into);
      if (isExact || Object.values(results).every(isFiniteTensor)) return results;
      o.onFallback();
      await current.dispose();
      current = await o.compileIn("f32");
      isExact = true;
      return current.run(feeds, into);
    },
    dispose: () => current.dispose(),
  };
}
