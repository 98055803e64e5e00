/** Tensors that lie in files: where they are, without their data. */

import type { DType } from "./dtype.ts";
import type { Recipe } from "./quantized.ts";
import type { Shape } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: Shape;
  /** The file's path on this machine, when its bytes may be mapped from there as they are; else null: use `read`. */
  readonly file: string | null;
  /** First byte in that file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A low-rank addition to a weight: scale · up · down, by the names of two other tensors of the store. */
export interface StoredAdapter {
  readonly down: string;
  readonly up: string;
  readonly scale: number;
}

/** Named tensors in one or more files. Looking costs nothing; `read` brings one tensor into memory. */
export interface TensorStore {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Which of them are integers, and how to read them; absent: none. A graph is compiled accordingly. */
  readonly recipe?: Recipe;
  /** What is added to weights, by their names; absent: nothing. A graph is compiled accordingly. */
  readonly adapters?: ReadonlyMap<string, readonly StoredAdapter[]>;
  read(name: string): Promise<Tensor>;
}
