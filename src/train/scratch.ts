/**
 * Memory that is needed again and again and not in between: given back to the system at once, where arrays that nobody holds
 * would stay until the collector comes to them.
 */

import { type DType, dtypes, type TypedArray, viewAs } from "../tensor/dtype.ts";

/** Of ES2024; the type library here is ES2023's, while Node has it since 20 and browsers since 2023. */
interface ResizableBuffer extends ArrayBuffer {
  resize(bytes: number): void;
}
const Resizable = ArrayBuffer as unknown as new (
  bytes: number,
  o: { readonly maxByteLength: number },
) => ResizableBuffer;

export class Scratch {
  readonly #buffers: { readonly buffer: ResizableBuffer; readonly bytes: number }[] = [];

  /** Zeros, which become an empty array by `release` and zeros again by `renew`. */
  allocate(dtype: DType, length: number): TypedArray {
    const bytes = length * dtypes[dtype].bytes;
    const buffer = new Resizable(bytes, { maxByteLength: bytes });
    this.#buffers.push({ buffer, bytes });
    return viewAs(dtype, buffer, 0, length);
  }

  release(): void {
    for (const { buffer } of this.#buffers) buffer.resize(0);
  }

  renew(): void {
    for (const { buffer, bytes } of this.#buffers) buffer.resize(bytes);
  }
}
