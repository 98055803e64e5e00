/** The one file that speaks to ONNX Runtime, through whichever module the host hands over (Node's or the browser's). */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import type { DType, TypedArray } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { OnnxModel, Session } from "./session.ts";

/** What is used of `ort.Tensor`. */
export interface OrtTensor {
  readonly dims: readonly number[];
  readonly data: unknown;
}

/** What is used of `ort.InferenceSession`. */
export interface OrtSession {
  run(
    feeds: Record<string, OrtTensor>,
    fetches: Record<string, OrtTensor | null>,
  ): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

/** What is used of `onnxruntime-node` and `onnxruntime-web`. */
export interface OrtModule {
  readonly Tensor: new (type: string, data: TypedArray, dims: readonly number[]) => OrtTensor;
  readonly InferenceSession: {
    create(model: Uint8Array, options: Readonly<Record<string, unknown>>): Promise<OrtSession>;
  };
}

export interface OrtOptions {
  /** The engine's name, for errors. */
  readonly engine: string;
  /** `InferenceSession.SessionOptions`. */
  readonly session: Readonly<Record<string, unknown>>;
}

/**
 * A session for `bytes`, the model completed by its weights.
 * @throws KoalaError E_ENGINE when ONNX Runtime refuses the model
 */
export async function createOrtSession(
  ort: OrtModule,
  model: OnnxModel,
  bytes: Uint8Array,
  o: OrtOptions,
): Promise<Session> {
  const session = await ort.InferenceSession.create(bytes, o.session).catch((cause: unknown) => {
    throw engineError(o.engine, "a model that it can load", cause);
  });
  let isOpen = true;

  const wrap = (tensors: Readonly<Record<string, Tensor>>): Record<string, OrtTensor> =>
    Object.fromEntries(
      Object.entries(tensors).map(([name, t]) => [name, new ort.Tensor(t.dtype, t.data, t.shape)]),
    );

  return {
    async run(feeds, into = {}) {
      check(isOpen, "E_ENGINE", () => ({
        where: o.engine,
        expected: "a session that is open",
        got: "one that was disposed",
      }));
      const unwritten = Object.keys(model.outputs).map((name) => [name, null] as const);
      const fetches = { ...Object.fromEntries(unwritten), ...wrap(into) };
      const results = await session.run(wrap(feeds), fetches).catch((cause: unknown) => {
        throw engineError(o.engine, "a run without errors", cause);
      });
      return Object.fromEntries(
        Object.entries(model.outputs).map(([name, { dtype, shape }]) => [
          name,
          into[name] ?? { dtype, shape, data: unwrap(dtype, results[name]) },
        ]),
      );
    },
    async dispose() {
      if (!isOpen) return;
      isOpen = false;
      await session.release();
    },
  };
}

/** Where JavaScript has a Float16Array, halves come as one; here they are bits. */
function unwrap(dtype: DType, t: OrtTensor | undefined): TypedArray {
  const data = t?.data as TypedArray;
  return dtype === "float16" && !(data instanceof Uint16Array)
    ? new Uint16Array(
        (data as TypedArray).buffer,
        (data as TypedArray).byteOffset,
        (data as TypedArray).length,
      )
    : data;
}

/** ONNX Runtime's sentence, led by the node that it is about, which our names say in checkpoint words. */
function engineError(engine: string, expected: string, cause: unknown): KoalaError {
  const message = cause instanceof Error ? cause.message : String(cause);
  const node = /Name:'([^']+)'|[Nn]ode \(([^)]+)\)/.exec(message);
  const where = node === null ? engine : `${engine}: ${node[1] ?? node[2] ?? ""}`;
  return new KoalaError("E_ENGINE", { where, expected, got: message.trim(), cause });
}
