/**
 * ONNX Runtime under Node: on the CPU, and on WebGPU through the Dawn that the package bundles.
 *
 * Weights are mapped from the files where they lie. ONNX Runtime takes no absolute path for external data, but it takes
 * a folder to look in (`session.model_external_initializers_file_folder_path`): that folder is the root of the file
 * system, so no link, copy or change of directory is needed.
 */

import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { KoalaError } from "../core/errors.ts";
import { withWeights } from "../onnx/external.ts";
import { encodeModel } from "../onnx/proto.ts";
import { createOrtSession, type OrtModule } from "../runtime/ort.ts";
import type { Engine, EngineStatus, OnnxModel, Session, SessionOptions } from "../runtime/session.ts";
import { physicalCores } from "./cores.ts";
import { type Keeping, keep, programKey, readKept, removeKept } from "./kept-programs.ts";
import { giveBack } from "./mapped-pages.ts";
import { placeWeights } from "./place-weights.ts";

const require = createRequire(import.meta.url);

export interface OrtNodeModule extends OrtModule {
  readonly env: { readonly versions: { readonly node?: string; readonly common: string } };
  listSupportedBackends(): readonly { readonly name: string; readonly bundled: boolean }[];
}

/**
 * Loads the native library, which takes tens of milliseconds: only when an engine is asked for.
 * @throws KoalaError E_ENGINE
 */
export function loadOrt(from = "onnxruntime-node"): OrtNodeModule {
  try {
    return require(from) as OrtNodeModule;
  } catch (cause) {
    throw new KoalaError("E_ENGINE", {
      where: "onnxruntime-node",
      expected: "a library that loads here",
      got: cause instanceof Error ? (cause.message.split("\n")[0] ?? "") : String(cause),
      hint: "Reinstall with `npm install onnxruntime-node`; its prebuilt library needs glibc 2.28 on Linux (not musl).",
      cause,
    });
  }
}

export interface OrtEngineOptions {
  /** Refuse a model of which a node would run on the CPU behind the device's back: for tests. */
  readonly isStrict?: boolean;
}

/** `ort`: the CPU. */
export function ortEngine(): Engine {
  return {
    name: "ort",
    target: "ort-cpu",
    load: (model, { threads, isUnplanned = false, isBusy = true, ...kept }) =>
      load(
        "ort",
        model,
        { ...sessionOptions(threads), enableMemPattern: !isUnplanned },
        { kept, entries: { "intra_op.allow_spinning": isBusy ? "1" : "0" } },
      ),
  };
}

/** `webgpu`: the graphics device. */
export function webgpuEngine(o: OrtEngineOptions = {}): Engine {
  return {
    name: "webgpu",
    target: "ort-webgpu",
    load: (model, { threads }) =>
      load(
        "webgpu",
        model,
        { ...sessionOptions(threads), executionProviders: ["webgpu"] },
        o.isStrict === true ? { entries: { disable_cpu_ep_fallback: "1" } } : {},
      ),
  };
}

/** `cuda`: NVIDIA's cards, by the lowering of the other graphics provider. Products of integers are floats there. */
export function cudaEngine(): Engine {
  return {
    name: "cuda",
    target: "ort-webgpu",
    load: (model, { threads }) =>
      load("cuda", model, { ...sessionOptions(threads), executionProviders: ["cuda"] }, {}),
  };
}

/** The highest level of ONNX Runtime's log: errors come to us as exceptions, not on stderr as well. */
const FATAL_ONLY = 4;

const sessionOptions = (threads: number | undefined): Record<string, unknown> => ({
  intraOpNumThreads: threads ?? physicalCores(),
  graphOptimizationLevel: "all",
  logSeverityLevel: FATAL_ONLY,
});

async function load(
  engine: string,
  model: OnnxModel,
  options: Record<string, unknown>,
  o: { readonly entries?: Record<string, string>; readonly kept?: Pick<SessionOptions, "cache" | "warn"> },
): ReturnType<Engine["load"]> {
  const ort = loadOrt();
  const placed = await placeWeights(model);
  const make = (bytes: Uint8Array, root: string, more: Partial<Keeping> = {}): Promise<Session> => {
    const entries = { ...o.entries, ...more.entries, model_external_initializers_file_folder_path: root };
    const session = { ...options, ...more.session, extra: { session: entries } };
    return createOrtSession(ort, model, bytes, { engine, session });
  };
  try {
    const bytes = withWeights(model.bytes, placed.weights);
    const { cache, warn } = o.kept ?? {};
    const session =
      cache === undefined || !placed.isLasting
        ? await make(bytes, placed.root)
        : await makeKept(make, {
            ...{ bytes, root: placed.root, cache, warn },
            key: await programKey(bytes, placed.files, { version: ort.env.versions, options }),
          });
    await giveBack(placed.files); // what is packed another way is not read from the file again
    return {
      run: (feeds, into) => session.run(feeds, into),
      async dispose() {
        await session.dispose();
        await giveBack();
      },
    };
  } finally {
    await placed.dispose();
  }
}

interface KeptLoad {
  readonly bytes: Uint8Array;
  readonly root: string;
  readonly cache: string;
  readonly key: string;
  readonly warn: SessionOptions["warn"];
}

/** The program as it is kept on disk, or made and kept; where it cannot be kept it is only made. */
async function makeKept(
  make: (bytes: Uint8Array, root: string, more?: Partial<Keeping>) => Promise<Session>,
  { bytes, root, cache, key, warn }: KeptLoad,
): Promise<Session> {
  const damaged = (): void => warn?.(`a program kept in ${cache} was damaged: it is made again`);
  const open = async (): Promise<Session | null> => {
    const kept = await readKept(cache, key, damaged);
    const asIs = { session: { graphOptimizationLevel: "disabled" } };
    return kept === null ? null : make(kept.bytes, kept.root, asIs);
  };
  const known = await open().catch(async () => {
    damaged();
    await removeKept(cache, key);
    return null;
  });
  if (known !== null) return known;
  try {
    const keeping = await keep(cache, key);
    try {
      await (await make(bytes, root, keeping)).dispose(); // it holds more than one that is mapped
      await keeping.finish();
    } finally {
      await keeping.abandon();
    }
    const session = await open();
    if (session !== null) return session;
    throw new Error("it was gone when it was read again");
  } catch (error) {
    const session = await make(bytes, root); // fails alike where it is the model that is wrong
    warn?.(`no program is kept in ${cache}: ${error instanceof Error ? error.message : String(error)}`);
    return session;
  }
}

/** Whether the CPU engine is here, and which version. */
export function ortStatus(): EngineStatus {
  const row = { name: "ort", isAvailable: false };
  try {
    const { env } = loadOrt();
    const version = env.versions.node ?? env.versions.common;
    return { ...row, isAvailable: true, detail: `ONNX Runtime ${version}, CPU, ${physicalCores()} threads` };
  } catch (error) {
    return { ...row, detail: error instanceof KoalaError ? `${error.got}. ${error.hint}` : String(error) };
  }
}

/** A driver that hangs is given up after this long. */
const PROBE_TIMEOUT_MS = 20_000;

/** Whether WebGPU is here: a driver and an adapter. */
export async function webgpuStatus(): Promise<EngineStatus> {
  const failure = await probe("webgpu");
  if (failure === null) return deviceRow("webgpu", "WebGPU");
  // ONNX Runtime's own sentence follows the place in its source that it names
  const detail = `no usable graphics adapter: ${failure.replace(/^.* was false\. /, "")}`;
  return { name: "webgpu", isAvailable: false, detail };
}

const howToGetCuda =
  "On Linux (x64) with CUDA 12 and cuDNN 9: ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node";

/** Whether ONNX Runtime's CUDA provider is here, which its package fetches at install when asked, and a card that it runs on. */
export async function cudaStatus(providers: readonly string[] = providerFiles()): Promise<EngineStatus> {
  const row = { name: "cuda", isAvailable: false };
  if (!providers.some((name) => name.includes("providers_cuda")))
    return { ...row, detail: `onnxruntime-node is here without its CUDA provider. ${howToGetCuda}` };
  const failure = await probe("cuda");
  return failure === null ? deviceRow("cuda", "CUDA") : { ...row, detail: `${failure}. ${howToGetCuda}` };
}

/** Files beside ONNX Runtime's binding for this machine; none where it is not installed. */
function providerFiles(): string[] {
  try {
    const bin = join(dirname(require.resolve("onnxruntime-node")), "..", "bin");
    const [binding = ""] = readdirSync(bin);
    return readdirSync(join(bin, binding, process.platform, process.arch));
  } catch {
    return [];
  }
}

const deviceRow = (name: string, device: string): EngineStatus => ({
  name,
  isAvailable: true,
  detail: `${ortStatus().detail.split(",")[0]}, ${device}`,
});

/**
 * Runs one addition on the device in a process of its own: a driver that crashes or hangs takes nothing with it. null, or what
 * went wrong.
 */
function probe(provider: string): Promise<string | null> {
  const port = { dtype: "float32", shape: [1] } as const;
  const bytes = encodeModel({
    irVersion: 10,
    opsets: { "": 21 },
    nodes: [{ name: "add", type: "Add", domain: "", inputs: ["x", "x"], outputs: ["y"], attrs: {} }],
    initializers: [],
    inputs: [{ name: "x", ...port }],
    outputs: [{ name: "y", ...port }],
  });
  const script = `
    const ort = require(${JSON.stringify(require.resolve("onnxruntime-node"))});
    const model = Buffer.from(${JSON.stringify(Buffer.from(bytes).toString("base64"))}, "base64");
    const options = { executionProviders: [${JSON.stringify(provider)}], logSeverityLevel: 4 };
    ort.InferenceSession.create(model, options)
      .then((s) => s.run({ x: new ort.Tensor("float32", [21], [1]) }))
      .then(({ y }) => process.exit(y.data[0] === 42 ? 0 : 3), (e) => { console.error(e.message); process.exit(2); });`;
  return new Promise((resolve) => {
    execFile(process.execPath, ["-e", script], { timeout: PROBE_TIMEOUT_MS }, (error, _out, stderr) => {
      if (error === null) resolve(null);
      else if (error.killed === true) resolve("the graphics driver did not answer in 20 s");
      else if (error.code === 2) resolve(stderr.trim().split("\n").at(-1) ?? "");
      else resolve(`the graphics driver failed (${error.signal ?? `exit code ${error.code}`})`);
    });
  });
}
