/** Bytes and tensors in, tensors out. What an engine must offer; it knows no graphs. */

import type { Target } from "../graph/op.ts";
import type { DType } from "../tensor/dtype.ts";
import type { Shape } from "../tensor/shape.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** An initializer whose data stays where it is stored. */
export interface ExternalWeight {
  /** Its name in the store, and in the model. */
  readonly name: string;
  readonly stored: StoredTensor;
}

export interface OnnxModel {
  /** A serialized `ModelProto`; external initializers name no path yet: the engine decides how to hand the data over. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly weights: readonly ExternalWeight[];
  readonly store: TensorStore;
  readonly inputs: Readonly<Record<string, { dtype: DType; shape: Shape }>>;
  readonly outputs: Readonly<Record<string, { dtype: DType; shape: Shape }>>;
}

export interface Session {
  /**
   * One run. `into` gives preallocated results: those outputs are written in place.
   * @throws KoalaError E_ENGINE when a feed is missing or misshaped, or the engine fails
   */
  run(
    feeds: Readonly<Record<string, Tensor>>,
    into?: Readonly<Record<string, Tensor>>,
  ): Promise<Record<string, Tensor>>;
  /** Frees what the engine holds; a second call does nothing. */
  dispose(): Promise<void>;
}

/** What an engine computes in. `bf16` has the range of `f32` and 8 bits of its 24: half the time where the CPU has it. */
export type Precision = "f32" | "bf16";

export interface SessionOptions {
  /** Compute threads; absent: one a physical core that this process may use. */
  readonly threads?: number;
  /**
   * Take memory for each intermediate value when it is made, instead of all of it by a plan of the first run. Training
   * steps, whose values live long, need 40 % less so and no more time; default false.
   */
  readonly isUnplanned?: boolean;
  /**
   * Whether an engine that makes kernels on the spot may fuse elementwise operations into them; default true. OpenVINO 2026.4
   * finds no order for those of a training step, and may crash as it looks.
   */
  readonly isFused?: boolean;
  /**
   * Whether ONNX Runtime's threads wait for the next operation busily; default true. False for one of many short programs that
   * run in turns: each has threads of its own, which would wait on the cores that the next needs.
   */
  readonly isBusy?: boolean;
  /** Default `f32`. Numbers that go in and out stay as the graph has them. */
  readonly precision?: Precision;
  /** A folder to keep compiled programs in, for a quicker second start; absent: none are kept. */
  readonly cache?: string;
  /** Told of a kept program that is made again. */
  warn?(message: string): void;
}

export interface Engine {
  /** `ort`, `webgpu`, `openvino`… as `--engine` takes it. */
  readonly name: string;
  readonly target: Target;
  /** What it can compute in here; absent: `f32` alone. */
  readonly precisions?: readonly Precision[];
  /** Where `auto` took it: why. */
  readonly reason?: string;
  load(model: OnnxModel, o: SessionOptions): Promise<Session>;
}

/** What a machine has: one row an engine, for `koala engines` and for errors. */
export interface EngineStatus {
  readonly name: string;
  readonly isAvailable: boolean;
  /** The version where it is there, the reason and remedy where it is not. */
  readonly detail: string;
}
