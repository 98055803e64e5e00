/** Weights beside the model: initializers that only say where their bytes lie (a protobuf ends at 2 GiB). */

import type { DType } from "../tensor/dtype.ts";
import type { Shape } from "../tensor/shape.ts";
import { encodeInitializers, type ProtoData, type ProtoTensor } from "./proto.ts";

/** One weight and where the engine will find it. */
export interface PlacedWeight {
  readonly name: string;
  readonly stored: { readonly dtype: DType; readonly shape: Shape };
  readonly data: ProtoData;
}

/** `bytes` of a model that lacks its weights, completed by them. */
export function withWeights(
  bytes: Uint8Array<ArrayBuffer>,
  weights: readonly PlacedWeight[],
): Uint8Array<ArrayBuffer> {
  const tail = encodeInitializers(
    weights.map(
      ({ name, stored, data }): ProtoTensor => ({ name, dtype: stored.dtype, shape: stored.shape, data }),
    ),
  );
  const whole = new Uint8Array(bytes.length + tail.length);
  whole.set(bytes);
  whole.set(tail, bytes.length);
  return whole;
}
