/** Float weights as the integers and scales of a recipe: see `tensor/quantized.ts` for what they stand for. */

import { float16ToNumber, numberToFloat16 } from "../tensor/float16.ts";
import { type BlocksRecipe, type LayerRecipe, storedForm } from "../tensor/quantized.ts";
import { size } from "../tensor/shape.ts";
import { type Tensor, toFloat32 } from "../tensor/tensor.ts";

export interface Packed {
  readonly weight: Tensor;
  readonly scale: Tensor;
}

/** `weight` [O, ...] of any float type; `scale`, where it is known from an earlier call, is not searched for again. */
export const pack = (weight: Tensor, how: LayerRecipe, scale?: Tensor): Packed =>
  how.kind === "blocks" ? packBlocks(weight, how, scale) : packChannels(weight);

/**
 * A row is taken to reach this share of the tensor's largest: by the scale of one that is nearly 0 its bias, which ONNX Runtime
 * takes as int32 in units of both scales, would be none. A bias may so be 127 · 2^31 / 2^10 input steps of the largest weight.
 */
const leastShare = 2 ** -10;

/** Symmetric, the largest of a row at 127: at 8 bits a narrower range gains nothing that can be measured. */
function packChannels(weight: Tensor): Packed {
  const values = toFloat32(weight);
  const [rows = 1] = weight.shape;
  const columns = values.length / rows;
  const integers = new Int8Array(values.length);
  const scales = new Float32Array(rows);
  const least = largest(values) * leastShare;
  for (let row = 0; row < rows; row++) {
    const own = values.subarray(row * columns, (row + 1) * columns);
    const scale = Math.max(largest(own), least) / 127 || 1;
    scales[row] = scale;
    for (let i = 0; i < columns; i++) integers[row * columns + i] = Math.round((own[i] ?? 0) / scale);
  }
  return {
    weight: { dtype: "int8", shape: weight.shape, data: integers },
    scale: { dtype: "float32", shape: [rows], data: scales },
  };
}

const largest = (values: Float32Array): number => {
  let most = 0;
  for (const v of values) most = Math.max(most, Math.abs(v));
  return most;
};

/** What the largest number of a block becomes, in units of the middle: less than 1 cuts it off for finer steps. */
const RANGES = [1, 0.95, 0.9, 0.85, 0.8, 0.75];

/**
 * A block's scale is the one of a few with the least squared error. Its sign is the largest number's turned round: that one
 * is then −2^(bits−1), which has no positive counterpart, and no step is lost (as in ggml's Q4_0).
 */
function packBlocks(weight: Tensor, how: BlocksRecipe, known: Tensor | undefined): Packed {
  const { bits, block } = how;
  const form = storedForm(weight.shape, how);
  const [rows = 1, blocks = 1, bytes = 1] = form.shape;
  const columns = size(weight.shape.slice(1));
  const values = toFloat32(weight);
  const packed = new Uint8Array(size(form.shape));
  const scales = (known?.data as Uint16Array<ArrayBuffer> | undefined) ?? new Uint16Array(rows * blocks);
  const middle = 2 ** (bits - 1);
  for (let row = 0; row < rows; row++)
    for (let b = 0; b < blocks; b++) {
      const end = Math.min((b + 1) * block, columns);
      const own = values.subarray(row * columns + b * block, row * columns + end);
      const at = row * blocks + b;
      if (known === undefined)
        scales[at] = numberToFloat16(blockScale(own, middle, bits === 4 ? RANGES : [1]));
      const scale = float16ToNumber(scales[at] ?? 0);
      const first = at * bytes;
      for (let i = 0; i < block; i++) {
        const q = level((own[i] ?? 0) / scale, middle) + middle;
        if (bits === 8) packed[first + i] = q;
        else packed[first + (i >> 1)] = (packed[first + (i >> 1)] ?? 0) | (q << (4 * (i & 1)));
      }
    }
  return {
    weight: { dtype: "uint8", shape: form.shape, data: packed },
    scale: { dtype: "float16", shape: form.scale, data: scales },
  };
}

/** The nearest of the steps −middle … middle − 1. */
const level = (x: number, middle: number): number => Math.min(middle - 1, Math.max(-middle, Math.round(x)));

/** As float16 holds it, and never 0. */
function blockScale(values: Float32Array, middle: number, ranges: readonly number[]): number {
  let most = 0;
  for (const v of values) if (Math.abs(v) > Math.abs(most)) most = v;
  let best = 1;
  let least = Number.POSITIVE_INFINITY;
  for (const range of ranges) {
    const scale = float16ToNumber(numberToFloat16((-most * range) / middle));
    if (scale === 0) continue;
    let error = 0;
    for (let i = 0; i < values.length && error < least; i++) {
      const v = values[i] ?? 0;
      const d = v - level(v / scale, middle) * scale;
      error += d * d;
    }
    if (error >= least) continue;
    [best, least] = [scale, error];
  }
  return best;
}
