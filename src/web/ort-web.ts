/**
 * ONNX Runtime in a browser: WebAssembly (threads where the page is cross-origin isolated) and WebGPU. Each is a build of
 * its own, fetched when it is first asked for.
 *
 * Weights go in one by one, each as an external file of its own name: the runtime copies one to where it computes and a
 * whole checkpoint is never in the page's memory beside it.
 */

import { check } from "../core/assert.ts";
import { withWeights } from "../onnx/external.ts";
import { createOrtSession, type OrtModule } from "../runtime/ort.ts";
import type { Engine, EngineStatus, OnnxModel } from "../runtime/session.ts";

/** What is used of the browser's module beyond `OrtModule`. */
interface OrtWebModule extends OrtModule {
  readonly env: {
    logLevel?: string;
    readonly versions: { readonly web?: string; readonly common: string };
    readonly wasm: { numThreads?: number; proxy?: boolean };
  };
}

/** Weights up to this size travel inside the model: too small to be worth a file each. */
const INLINE_BYTES = 4096;

/** More threads than this gain nothing in WebAssembly; ONNX Runtime's own default is the same. */
const MAX_THREADS = 4;

let wasm: Promise<OrtWebModule> | null = null;
let webgpu: Promise<OrtWebModule> | null = null;

const silenced = (ort: OrtWebModule): OrtWebModule => {
  ort.env.logLevel = "fatal"; // errors come as exceptions
  return ort;
};
const loadWasm = (): Promise<OrtWebModule> =>
  (wasm ??= import("onnxruntime-web/wasm").then((m) => silenced(m as unknown as OrtWebModule)));
const loadWebgpu = (): Promise<OrtWebModule> =>
  (webgpu ??= import("onnxruntime-web/webgpu").then((m) => silenced(m as unknown as OrtWebModule)));

/** Threads that WebAssembly may use here: one where the page is not cross-origin isolated. */
const threadsHere = (): number =>
  globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MAX_THREADS) : 1;

export function wasmEngine(): Engine {
  return {
    name: "wasm",
    target: "ort-cpu",
    async load(model, { threads, isUnplanned = false }) {
      const ort = await loadWasm();
      ort.env.wasm.numThreads = threads ?? threadsHere(); // heeded by the first session only
      return load(ort, "wasm", model, { executionProviders: ["wasm"], enableMemPattern: !isUnplanned });
    },
  };
}

export function webgpuEngine(): Engine {
  return {
    name: "webgpu",
    target: "ort-webgpu",
    async load(model) {
      await checkLimits(model);
      const ort = await loadWebgpu();
      ort.env.wasm.numThreads = threadsHere();
      return load(ort, "webgpu", model, { executionProviders: ["webgpu"] });
    },
  };
}

async function load(
  ort: OrtWebModule,
  engine: string,
  model: OnnxModel,
  options: Record<string, unknown>,
): ReturnType<Engine["load"]> {
  const external: { path: string; data: Uint8Array<ArrayBuffer> }[] = [];
  const weights: Parameters<typeof withWeights>[1][number][] = [];
  for (const { name, stored } of model.weights) {
    const { data } = await model.store.read(name);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (bytes.length <= INLINE_BYTES) {
      weights.push({ name, stored, data: { kind: "inline", bytes } });
      continue;
    }
    const location = `w${external.length}`;
    external.push({ path: location, data: bytes });
    weights.push({ name, stored, data: { kind: "external", location, offset: 0, length: bytes.length } });
  }
  const session = await inTurn(() =>
    createOrtSession(ort, model, withWeights(model.bytes, weights), {
      engine,
      session: { ...options, graphOptimizationLevel: "all", logSeverityLevel: 4, externalData: external },
    }),
  );
  return {
    run: (feeds, into) => inTurn(() => session.run(feeds, into)),
    dispose: () => inTurn(() => session.dispose()),
  };
}

let last: Promise<unknown> = Promise.resolve();

/** The WebGPU build suspends its one stack while it waits for the device: a second call in that time would corrupt it. */
function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const its = last.then(work, work);
  last = its.catch(() => {});
  return its;
}

async function adapter(): Promise<GPUAdapterLike | null> {
  const gpu = (navigator as { gpu?: { requestAdapter(): Promise<GPUAdapterLike | null> } }).gpu;
  return gpu === undefined ? null : gpu.requestAdapter().catch(() => null);
}

/** What is used of `GPUAdapter`, which TypeScript's DOM library lacks. */
interface GPUAdapterLike {
  readonly limits: { readonly maxBufferSize: number; readonly maxStorageBufferBindingSize: number };
  readonly info?: { readonly vendor?: string; readonly architecture?: string; readonly description?: string };
}

/** Bytes that one buffer may have; null where there is no adapter. */
export async function largestBuffer(): Promise<number | null> {
  const limits = (await adapter())?.limits;
  return limits === undefined ? null : Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize);
}

/** @throws KoalaError E_ENGINE for a weight that no buffer of this adapter holds */
async function checkLimits(model: OnnxModel): Promise<void> {
  const most = await largestBuffer();
  check(most !== null, "E_ENGINE", () => ({ where: "webgpu", expected: "an adapter", got: "none" }));
  const largest = model.weights.reduce<OnnxModel["weights"][number] | undefined>(
    (a, b) => (a === undefined || b.stored.byteLength > a.stored.byteLength ? b : a),
    undefined,
  );
  const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
  check(largest === undefined || largest.stored.byteLength <= most, "E_ENGINE", () => ({
    where: `webgpu: ${largest?.name ?? ""}`,
    expected: `weights of at most ${megabytes(most)} each, the largest buffer of this graphics adapter`,
    got: megabytes(largest?.stored.byteLength ?? 0),
    hint: "Choose a smaller model, or the wasm engine.",
  }));
}

export async function wasmStatus(): Promise<EngineStatus> {
  const isThere = typeof WebAssembly === "object";
  const threads = threadsHere();
  return {
    name: "wasm",
    isAvailable: isThere,
    detail: isThere
      ? `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}${globalThis.crossOriginIsolated ? "" : " (the page is not cross-origin isolated)"}`
      : "this browser has no WebAssembly",
  };
}

export async function webgpuStatus(): Promise<EngineStatus> {
  const there = await adapter();
  if (there === null)
    return { name: "webgpu", isAvailable: false, detail: "this browser offers no graphics adapter to pages" };
  const { vendor, architecture, description } = there.info ?? {};
  const words = [description, vendor, architecture].filter((text) => text !== undefined && text !== "");
  const named = words.length === 0 ? "a graphics adapter" : words.join(", ");
  const most = Math.floor(there.limits.maxStorageBufferBindingSize / 2 ** 20);
  return {
    name: "webgpu",
    isAvailable: true,
    detail: `${named}, buffers up to ${most} MiB`,
  };
}
