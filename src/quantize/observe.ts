/** What passes through a value of a graph, and the uint8 steps that stand for it with the least squared error. */

import type { Rounding } from "../tensor/quantized.ts";

/** Numbers kept of each tensor seen: of 32 tensors they are 32,768, and from so many the steps no longer move. */
const KEPT = 1024;

export class Observation {
  private low = 0;
  private high = 0;
  private readonly kept: number[] = [];

  /** One more tensor of the value. */
  add(values: Float32Array): void {
    for (const v of values) {
      if (v < this.low) this.low = v;
      if (v > this.high) this.high = v;
    }
    // an odd stride shares no factor with the usual widths, so that what is kept is of every channel
    const stride = Math.max(1, Math.floor(values.length / KEPT)) | 1;
    for (let i = 0; i < values.length; i += stride) this.kept.push(values[i] ?? 0);
  }

  /** The steps for what was seen, zero among them: each end is drawn in as far as that pays, the farther one first. */
  rounding(): Rounding {
    let best = { low: 1, high: 1 };
    let least = this.error(best);
    const order = this.high > -this.low ? (["high", "low"] as const) : (["low", "high"] as const);
    for (const end of order)
      for (const part of PARTS) {
        const parts = { ...best, [end]: part };
        const error = this.error(parts);
        if (error < least) [best, least] = [parts, error];
      }
    return steps(this.low * best.low, this.high * best.high);
  }

  private error(parts: { readonly low: number; readonly high: number }): number {
    return squaredError(this.kept, steps(this.low * parts.low, this.high * parts.high));
  }
}

/** Parts of what was seen on one side of zero: what cuts rare extremes off has finer steps for the rest. */
const PARTS = [0.9, 0.8, 0.7, 0.6, 0.5, 0.42, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1];

/** 256 steps from `low`, at most 0, to `high`, at least 0. */
function steps(low: number, high: number): Rounding {
  const scale = Math.fround((high - low) / 255);
  if (scale === 0) return { scale: 1, zero: 0 };
  return { scale, zero: Math.min(255, Math.max(0, Math.round(-low / scale))) };
}

function squaredError(values: readonly number[], { scale, zero }: Rounding): number {
  let error = 0;
  for (const v of values) {
    const q = Math.min(255, Math.max(0, Math.round(v / scale) + zero));
    const d = v - (q - zero) * scale;
    error += d * d;
  }
  return error;
}
