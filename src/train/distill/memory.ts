/** What a teacher's answers take, by their shapes alone. */

import type { DenoiserSize } from "../../pipeline/networks.ts";
import { dtypes } from "../../tensor/dtype.ts";
import { size } from "../../tensor/shape.ts";
import type { Network } from "../networks/network.ts";
import type { FeaturePair } from "./features.ts";

/** Bytes in float16 of the teacher's prediction for one micro-batch, and of the taps that `pairs` ask for, each once. */
export function answerBytes(
  student: Pick<Network, "inputs">,
  at: DenoiserSize,
  pairs: readonly FeaturePair[],
): number {
  const taps = new Map(pairs.map(({ teacher, shape }) => [teacher, size(shape)]));
  // the prediction is of the latents' shape
  const prediction = size(student.inputs(at).sample?.shape ?? []);
  return dtypes.float16.bytes * [...taps.values()].reduce((sum, n) => sum + n, prediction);
}
