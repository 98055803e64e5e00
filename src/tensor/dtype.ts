/** Element types: their names, sizes, typed arrays and the numbers ONNX gives them. */

export type DType =
  | "float32"
  | "float16"
  | "bfloat16"
  | "float64"
  | "int64"
  | "int32"
  | "uint16"
  | "int16"
  | "uint8"
  | "int8"
  | "bool";

/** What holds the elements in JavaScript: float16 and bfloat16 are bits in a Uint16Array, bool is 0 or 1. */
export type TypedArray =
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>;

interface DTypeFacts {
  readonly bytes: number;
  /** `TensorProto.DataType` of onnx.proto3. */
  readonly onnx: number;
  /** The name in a safetensors header. */
  readonly safetensors: string;
}

export const dtypes: Readonly<Record<DType, DTypeFacts>> = {
  float32: { bytes: 4, onnx: 1, safetensors: "F32" },
  float16: { bytes: 2, onnx: 10, safetensors: "F16" },
  bfloat16: { bytes: 2, onnx: 16, safetensors: "BF16" },
  float64: { bytes: 8, onnx: 11, safetensors: "F64" },
  int64: { bytes: 8, onnx: 7, safetensors: "I64" },
  int32: { bytes: 4, onnx: 6, safetensors: "I32" },
  uint16: { bytes: 2, onnx: 4, safetensors: "U16" },
  int16: { bytes: 2, onnx: 5, safetensors: "I16" },
  uint8: { bytes: 1, onnx: 2, safetensors: "U8" },
  int8: { bytes: 1, onnx: 3, safetensors: "I8" },
  bool: { bytes: 1, onnx: 9, safetensors: "BOOL" },
};

/** A view of `bytes` (aligned, whole elements) as the elements of `dtype`; no copy. */
export function viewAs(dtype: DType, buffer: ArrayBuffer, byteOffset = 0, length?: number): TypedArray {
  const n = length ?? (buffer.byteLength - byteOffset) / dtypes[dtype].bytes;
  switch (dtype) {
    case "float32":
      return new Float32Array(buffer, byteOffset, n);
    case "float64":
      return new Float64Array(buffer, byteOffset, n);
    case "int64":
      return new BigInt64Array(buffer, byteOffset, n);
    case "int32":
      return new Int32Array(buffer, byteOffset, n);
    case "float16":
    case "bfloat16":
    case "uint16":
      return new Uint16Array(buffer, byteOffset, n);
    case "int16":
      return new Int16Array(buffer, byteOffset, n);
    case "int8":
      return new Int8Array(buffer, byteOffset, n);
    case "uint8":
    case "bool":
      return new Uint8Array(buffer, byteOffset, n);
  }
}

/** Zeros of `dtype`. */
export function allocate(dtype: DType, length: number): TypedArray {
  return viewAs(dtype, new ArrayBuffer(length * dtypes[dtype].bytes), 0, length);
}
