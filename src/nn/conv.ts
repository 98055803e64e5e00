/**
 * Convolutions, and the two that change the resolution.
 * Source: PyTorch `nn.Conv2d`; diffusers `Downsample2D` and `Upsample2D`.
 */

import { labelled, type Value } from "../graph/op.ts";
import { conv as convolve, resizeNearest } from "../ops/index.ts";
import { fanIn, type Scope } from "./scope.ts";

export interface ConvOptions {
  /** Height and width of the kernel; default 3. */
  readonly kernel?: number;
  readonly stride?: number;
  /** One number for all sides, or [top, left, bottom, right]; default what keeps the size at stride 1. */
  readonly pad?: number | readonly [number, number, number, number];
  readonly bias?: boolean;
}

/** `x` [N, C, H, W] → [N, `out`, H', W']. Parameters `weight` [out, C, k, k], `bias` [out]. */
export function conv(s: Scope, x: Value, out: number, o: ConvOptions = {}): Value {
  return labelled(s.path, () => {
    const kernel = o.kernel ?? 3;
    const channels = x.shape[1]!;
    const init = fanIn(channels * kernel * kernel);
    const weight = s.param("weight", [out, channels, kernel, kernel], init);
    const bias = (o.bias ?? true) ? s.param("bias", [out], init) : null;
    return convolve(x, weight, bias, { stride: o.stride ?? 1, pad: o.pad ?? (kernel - 1) / 2 });
  });
}

/**
 * Halves height and width by a convolution of stride 2: `x` [N, C, H, W] → [N, C, ·, ·].
 * `padding` 1 pads every side and rounds odd sizes up; 0 pads right and bottom only and rounds them down.
 */
export function downsample(s: Scope, x: Value, padding: 0 | 1): Value {
  return conv(s.at("conv"), x, x.shape[1]!, { stride: 2, pad: padding === 1 ? 1 : [0, 0, 1, 1] });
}

/** Nearest-neighbour resize, then a convolution: `x` [N, C, H, W] → [N, C, `height`, `width`]. */
export function upsample(s: Scope, x: Value, height: number, width: number): Value {
  const large = labelled(s.path, () => resizeNearest(x, height, width));
  return conv(s.at("conv"), large, x.shape[1]!);
}
