/** A concrete array. This folder moves bytes; it does no mathematics. */

import { check } from "../core/assert.ts";
import { allocate, type DType, type TypedArray } from "./dtype.ts";
import { bfloat16ToNumber, float16Numbers, numberToBfloat16, numberToFloat16 } from "./float16.ts";
import { type Shape, show, size } from "./shape.ts";

export interface Tensor {
  readonly dtype: DType;
  readonly shape: Shape;
  /** Row-major elements; see `TypedArray` for what holds which dtype. */
  readonly data: TypedArray;
}

/** @throws KoalaError E_SHAPE when the element count is not that of the shape */
export function tensor(dtype: DType, shape: Shape, data: TypedArray): Tensor {
  check(data.length === size(shape), "E_SHAPE", () => ({
    where: "tensor",
    expected: `${size(shape)} elements for ${show(shape)}`,
    got: `${data.length}`,
  }));
  return { dtype, shape, data };
}

export const float32 = (shape: Shape, data: Iterable<number>): Tensor =>
  tensor(
    "float32",
    shape,
    data instanceof Float32Array ? (data as Float32Array<ArrayBuffer>) : Float32Array.from(data),
  );

export const int64 = (shape: Shape, data: Iterable<number>): Tensor =>
  tensor("int64", shape, BigInt64Array.from(data, BigInt));

/** The elements as JavaScript numbers in a Float32Array; the tensor's own array where it already is one. */
export function toFloat32(t: Tensor): Float32Array<ArrayBuffer> {
  if (t.data instanceof Float32Array) return t.data;
  const out = new Float32Array(t.data.length);
  if (t.dtype === "float16") {
    const numbers = float16Numbers();
    for (let i = 0; i < out.length; i++) out[i] = numbers[t.data[i] as number] ?? 0;
    return out;
  }
  const decode = t.dtype === "bfloat16" ? bfloat16ToNumber : Number;
  for (let i = 0; i < out.length; i++) out[i] = decode(t.data[i] as number);
  return out;
}

/** The same values in another floating dtype, rounded to nearest even. */
export function castFloat(t: Tensor, dtype: "float32" | "float16" | "bfloat16"): Tensor {
  if (t.dtype === dtype) return t;
  const values = toFloat32(t);
  if (dtype === "float32") return tensor(dtype, t.shape, values);
  const out = allocate(dtype, values.length) as Uint16Array<ArrayBuffer>;
  const encode = dtype === "float16" ? numberToFloat16 : numberToBfloat16;
  for (let i = 0; i < out.length; i++) out[i] = encode(values[i] ?? 0);
  return { dtype, shape: t.shape, data: out };
}
