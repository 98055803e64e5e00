/** Prompts into what the denoiser reads: token states, and for SDXL the pooled sentence and the size numbers. */

import { timestepEmbedding } from "../models/conditioning.ts";
import type { UNetConfig } from "../models/unet-config.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import type { Request } from "./request.ts";

/** Row-major, N texts. */
export interface Conditions {
  /** [N, S, E] */
  readonly text: Tensor;
  /** [N, P]; SDXL only. */
  readonly pooled: Tensor | null;
}

/** Texts as one encoder sees them. */
export interface EncodedText {
  /** Of their tokens [N, S, E]: its `last` or `hidden`. */
  readonly states: Tensor;
  /** [N, P] */
  readonly projected: Tensor | null;
  /** What tells text from padding to the denoiser [N, S]; absent where it sees both. */
  readonly mask?: Tensor | null;
}

/** SDXL: the states before the last layer of all encoders, side by side, and the last encoder's projection. */
export function joinStates(encoded: readonly EncodedText[]): Conditions {
  const states = encoded.map((e) => e.states);
  const [N = 0, S = 0] = states[0]?.shape ?? [];
  const widths = states.map((s) => s.shape[2] ?? 0);
  const E = widths.reduce((a, b) => a + b, 0);
  const text = new Float32Array(N * S * E);
  let column = 0;
  for (const [i, state] of states.entries()) {
    const from = toFloat32(state);
    const width = widths[i] ?? 0;
    for (let row = 0; row < N * S; row++)
      text.set(from.subarray(row * width, (row + 1) * width), row * E + column);
    column += width;
  }
  return { text: float32([N, S, E], text), pooled: encoded.at(-1)?.projected ?? null };
}

/** Tensors [1, S, E] of one shape, some for each of `count` rows → [count, …·S, E]; of vectors [1, P], one a row, [count, P]. */
export function inRows(tensors: readonly Tensor[], count: number): Tensor {
  const [, ...shape] = tensors[0]?.shape ?? [];
  const each = tensors[0]?.data.length ?? 0;
  const data = new Float32Array(tensors.length * each);
  for (const [i, t] of tensors.entries()) data.set(toFloat32(t), i * each);
  const [along = 1, ...rest] = shape;
  return float32([count, (tensors.length / count) * along, ...rest], data);
}

/** The first `count` entries along the batch, or those from `start`. */
export function rows(t: Tensor, start: number, count: number): Tensor {
  const each = t.data.length / (t.shape[0] ?? 1);
  return float32([count, ...t.shape.slice(1)], toFloat32(t).slice(start * each, (start + count) * each));
}

/** Each entry along the batch of `count` by itself; what is the same for all of them goes with each. */
export const entries = (
  conditions: Readonly<Record<string, Tensor>>,
  count: number,
): Readonly<Record<string, Tensor>>[] =>
  Array.from({ length: count }, (_, i) =>
    Object.fromEntries(
      Object.entries(conditions).map(([name, t]) => [name, t.shape[0] === count ? rows(t, i, 1) : t]),
    ),
  );

export const zerosLike = (t: Tensor): Tensor => float32(t.shape, new Float32Array(t.data.length));

/** Both along the batch. */
export function stack(a: Tensor, b: Tensor): Tensor {
  const data = new Float32Array(a.data.length + b.data.length);
  data.set(toFloat32(a));
  data.set(toFloat32(b), a.data.length);
  return float32([(a.shape[0] ?? 0) + (b.shape[0] ?? 0), ...a.shape.slice(1)], data);
}

/** Features [batch, 6·F] of SDXL's size numbers: original height and width, crop top and left, target height and width. */
export function sizeFeatures(request: Request, c: UNetConfig, batch: number): Tensor | null {
  if (c.added === null) return null;
  const own = { width: request.width, height: request.height };
  const { width, height } = request.originalSize ?? own;
  const target = request.targetSize ?? own;
  const { left, top } = request.crop ?? { left: 0, top: 0 };
  const numbers = [height, width, top, left, target.height, target.width];
  const features = timestepEmbedding(
    Array.from({ length: batch }, () => numbers).flat(),
    c.added.sizeChannels,
    c.sinusoid,
  );
  return float32([batch, numbers.length * c.added.sizeChannels], features);
}
