/**
 * `openvino`: Intel's engine on the CPU, f32 or bf16. It maps the weights from the files where they lie, as ONNX Runtime
 * does: see `openvino-library.ts` for how it is told where.
 */

import { mkdir } from "node:fs/promises";
import { KoalaError } from "../core/errors.ts";
import { withWeights } from "../onnx/external.ts";
import type { Engine, EngineStatus, OnnxModel, Session, SessionOptions } from "../runtime/session.ts";
import { allocate } from "../tensor/dtype.ts";
import { size } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { physicalCores } from "./cores.ts";
import { withoutPages } from "./mapped-pages.ts";
import { type CompiledModel, loadOpenVino, type OpenVino } from "./openvino-library.ts";
import { placeWeights } from "./place-weights.ts";

/** @throws KoalaError E_ENGINE where OpenVINO is not there or too old */
export async function openvinoEngine(load: () => Promise<OpenVino> = loadOpenVino): Promise<Engine> {
  const library = await load();
  return {
    name: "openvino",
    target: "openvino",
    precisions: library.hasBfloat16() ? ["f32", "bf16"] : ["f32"],
    load: (model, o) => open(library, model, o),
  };
}

function settings({
  threads,
  precision = "f32",
  isFused = true,
  cache,
}: SessionOptions): Record<string, string> {
  return {
    INFERENCE_PRECISION_HINT: precision,
    PERFORMANCE_HINT: "LATENCY",
    INFERENCE_NUM_THREADS: String(threads ?? physicalCores()),
    // else layers with 8-bit weights round their activations to 8 bits too, which nobody asked for
    DYNAMIC_QUANTIZATION_GROUP_SIZE: "0",
    ...(isFused ? {} : { SNIPPETS_MODE: "DISABLE" }),
    ...(cache === undefined ? {} : { CACHE_DIR: cache }),
  };
}

async function open(library: OpenVino, model: OnnxModel, o: SessionOptions): Promise<Session> {
  if (o.cache !== undefined) await mkdir(o.cache, { recursive: true });
  const placed = await placeWeights(model);
  try {
    const bytes = withWeights(model.bytes, placed.weights);
    const compiled = await withoutPages(placed.files, () =>
      library.compile(bytes, placed.root, settings(o)),
    ).catch((cause: unknown) => {
      throw engineError("a model that it can load", cause);
    });
    return session(model, compiled);
  } finally {
    await placed.dispose();
  }
}

const engineError = (expected: string, cause: unknown): KoalaError =>
  new KoalaError("E_ENGINE", {
    where: "openvino",
    expected,
    got: cause instanceof Error ? cause.message : String(cause),
    cause,
  });

function session(model: OnnxModel, compiled: CompiledModel): Session {
  /** Settles when the newest run is done; null once disposed. */
  let last: Promise<unknown> | null = Promise.resolve();

  async function run(
    feeds: Readonly<Record<string, Tensor>>,
    into: Readonly<Record<string, Tensor>>,
  ): Promise<Record<string, Tensor>> {
    const results = Object.fromEntries(
      Object.entries(model.outputs).map(([name, { dtype, shape }]) => [
        name,
        into[name] ?? { dtype, shape, data: allocate(dtype, size(shape)) },
      ]),
    );
    const inputs = Object.entries(model.inputs).map(([name, { dtype, shape }]) => {
      const given = feeds[name];
      if (given !== undefined) return given;
      throw engineError(`input ${name}, ${dtype} [${shape.join(", ")}]`, "nothing");
    });
    await compiled.infer(inputs, Object.values(results)).catch((cause: unknown) => {
      throw engineError("a run without errors", cause);
    });
    return results;
  }

  return {
    run(feeds, into = {}) {
      if (last === null)
        return Promise.reject(engineError("a session that is open", "one that was disposed"));
      const turn = last.then(
        () => run(feeds, into),
        () => run(feeds, into),
      );
      last = turn;
      return turn;
    },
    async dispose() {
      const running = last;
      if (running === null) return;
      last = null;
      await running.catch(() => {}); // its caller hears of it
      compiled.free();
    },
  };
}

/** Whether OpenVINO is here, which version and where. */
export async function openvinoStatus(load: () => Promise<OpenVino> = loadOpenVino): Promise<EngineStatus> {
  const row = { name: "openvino", isAvailable: false };
  try {
    const { version, path, hasBfloat16 } = await load();
    const precisions = hasBfloat16() ? "f32 and bf16" : "f32";
    const detail = `OpenVINO ${version}, CPU, ${physicalCores()} threads, ${precisions}, ${path}`;
    return { ...row, isAvailable: true, detail };
  } catch (error) {
    return { ...row, detail: error instanceof KoalaError ? `${error.got}. ${error.hint}` : String(error) };
  }
}
