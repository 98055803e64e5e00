/** The two sides of a distillation loss: networks in the graph, or a teacher whose answers are fed. */

import type { TensorType, Value } from "../../graph/op.ts";
import { tapsOf } from "../../graph/order.ts";
import type { Scope } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { Network, NetworkInputs } from "../networks/network.ts";
import type { FeaturePair } from "./features.ts";

/** What a network says of one batch: its prediction [N, L, h, w] and the taps that the loss compares, by name. */
export interface Side {
  readonly prediction: Value;
  readonly taps: ReadonlyMap<string, Value>;
}

/** A network on those inputs as a side of the loss. Taps are called as in the checkpoint, whatever the path of `s` is. */
export function networkSide(s: Scope, inputs: NetworkInputs, network: Pick<Network, "predict">): Side {
  const prediction = network.predict(s, inputs);
  const prefix = s.path === "" ? "" : `${s.path}.`;
  const own = [...tapsOf([prediction])].filter(([name]) => name.startsWith(prefix));
  return { prediction, taps: new Map(own.map(([name, value]) => [name.slice(prefix.length), value])) };
}

/** The name under which `targetSide` takes a teacher's tap, or its prediction where there is none given. */
export const targetName = (tap?: string): string => (tap === undefined ? "teacher" : `teacher.${tap}`);

/** The teacher's taps that the pairs ask for, each once: what a run of the teacher must give beside its prediction. */
export const teacherTaps = (pairs: readonly FeaturePair[]): string[] => [
  ...new Set(pairs.map(({ teacher }) => teacher)),
];

/**
 * A teacher that runs elsewhere, or ran before: inputs called by `targetName`, fed in the dtype that its answers were kept in.
 */
export function targetSide(
  pairs: readonly FeaturePair[],
  prediction: TensorType,
  dtype: DType = "float32",
): Side {
  const shapes = new Map(pairs.map(({ teacher, shape }) => [teacher, shape]));
  return {
    prediction: input(targetName(), { shape: prediction.shape, dtype }),
    taps: new Map([...shapes].map(([tap, shape]) => [tap, input(targetName(tap), { shape, dtype })])),
  };
}
