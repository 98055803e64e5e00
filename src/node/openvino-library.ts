/**
 * The C functions of OpenVINO that running a model needs, through koffi; the one file that speaks to it. Handles are
 * addresses. What takes long runs on a worker thread, so that the event loop goes on.
 * Source: openvino/c/*.h of OpenVINO 2026.4.
 */

import { KoalaError } from "../core/errors.ts";
import type { TypedArray } from "../tensor/dtype.ts";
import type { Shape } from "../tensor/shape.ts";
import { type Koffi, keepLoaded, type Library, later, loadKoffi, message, type Native } from "./koffi.ts";
import { openvinoLibraries } from "./openvino-find.ts";

/** Addresses of OpenVINO's objects. */
export type Handle = bigint;

export interface OpenVino {
  /** "2026.4.1" */
  readonly version: string;
  readonly path: string;
  /** Whether this CPU multiplies bfloat16 itself (AVX512-BF16, AMX, or Arm's): elsewhere the hint would change nothing. */
  hasBfloat16(): boolean;
  /** A model compiled for the CPU. Its external data lies in files at paths from `root`. */
  compile(
    bytes: Uint8Array,
    root: string,
    settings: Readonly<Record<string, string>>,
  ): Promise<CompiledModel>;
}

export interface CompiledModel {
  /** One run on memory of the caller, in the order of the model's inputs and outputs. One at a time. */
  infer(inputs: readonly Memory[], outputs: readonly Memory[]): Promise<void>;
  free(): void;
}

export interface Memory {
  readonly data: TypedArray;
  readonly shape: Shape;
}

/** The oldest that runs the whole op table of the tests: 2026.2 has no ScatterND that adds, which gradients of gathers need. */
export const oldest = "2026.4";

export const howToGet =
  "Install it with `pip install openvino` in a virtual environment that is active, or set OPENVINO_DIR to its folder.";

export interface OpenVinoOptions {
  /** The module to load; other than in tests, koffi. */
  readonly koffi?: string;
  /** Paths of the library, the first that serves wins. */
  readonly libraries?: readonly string[];
}

let shared: Promise<OpenVino> | null = null;

/**
 * The library of this machine, loaded once.
 * @throws KoalaError E_ENGINE where there is none, or none that is new enough
 */
export function loadOpenVino(): Promise<OpenVino> {
  shared ??= openOpenVino();
  return shared;
}

/** @throws KoalaError E_ENGINE */
export async function openOpenVino(o: OpenVinoOptions = {}): Promise<OpenVino> {
  const koffi = await loadKoffi(o.koffi).catch((cause: unknown) => {
    throw unavailable(
      "no package koffi, through which it is called",
      "Install it with `npm install koffi`.",
      cause,
    );
  });
  const paths = o.libraries ?? openvinoLibraries();
  const folder = process.env.OPENVINO_DIR;
  if (paths.length === 0) {
    const got =
      folder === undefined || folder === ""
        ? "no OpenVINO in the active Python environment, /opt/intel or the system's libraries"
        : `no OpenVINO in OPENVINO_DIR, which is ${folder}`;
    throw unavailable(got, howToGet);
  }
  const reasons: string[] = [];
  let first: unknown;
  for (const path of paths) {
    try {
      const made = bind(koffi, koffi.load(path), path);
      if (isOlder(made.version, oldest)) {
        reasons.push(`OpenVINO ${made.version} in ${path}, where ${oldest} or newer is needed`);
        continue;
      }
      keepLoaded(koffi, path);
      return made;
    } catch (cause) {
      first ??= cause;
      reasons.push(`${path}: ${message(cause)}`);
    }
  }
  throw unavailable(reasons.join("; "), howToGet, first);
}

const unavailable = (got: string, hint: string, cause?: unknown): KoalaError =>
  new KoalaError("E_ENGINE", { where: "openvino", expected: "OpenVINO's library", got, hint, cause });

/** By year and release: "2026.2.0" is older than "2026.4". */
function isOlder(version: string, than: string): boolean {
  const [year = 0, release = 0] = version.split(".").map(Number);
  const [leastYear = 0, leastRelease = 0] = than.split(".").map(Number);
  return year < leastYear || (year === leastYear && release < leastRelease);
}

/** koffi's names of types are one set for the process. */
const named = new WeakSet<Koffi>();

/** `ov_status_e`: 0 is OK. */
const OK = 0;

function functionsOf(koffi: Koffi, library: Library) {
  if (!named.has(koffi)) koffi.struct("ov_shape_t", { rank: "int64_t", dims: "int64_t *" });
  named.add(koffi);
  const c = (prototype: string): Native => library.func(prototype);
  return {
    lastError: c("const char *ov_get_last_err_msg()"),
    version: c("int ov_get_openvino_version(void *version)"),
    freeVersion: c("void ov_version_free(void *version)"),
    freeText: c("void ov_free(void *text)"),
    createCore: c("int ov_core_create(_Out_ void **core)"),
    freeCore: c("void ov_core_free(void *core)"),
    setProperty: c("int ov_core_set_property(void *core, const char *device, ...)"),
    getProperty: c("int ov_core_get_property(void *core, const char *device, const char *key, void *text)"),
    readModel: c(
      "int ov_core_read_model_from_memory_buffer(void *core, const void *bytes, size_t length, void *weights, _Out_ void **model)",
    ),
    freeModel: c("void ov_model_free(void *model)"),
    // variadic in C, and koffi calls no variadic function on a worker thread: without properties there is no difference
    compileModel: c(
      "int ov_core_compile_model(void *core, void *model, const char *device, size_t properties, _Out_ void **compiled)",
    ),
    freeCompiled: c("void ov_compiled_model_free(void *compiled)"),
    inputPort: c("int ov_compiled_model_input_by_index(void *compiled, size_t index, _Out_ void **port)"),
    outputPort: c("int ov_compiled_model_output_by_index(void *compiled, size_t index, _Out_ void **port)"),
    elementType: c("int ov_port_get_element_type(void *port, _Out_ int *type)"),
    freePort: c("void ov_output_const_port_free(void *port)"),
    createRequest: c("int ov_compiled_model_create_infer_request(void *compiled, _Out_ void **request)"),
    freeRequest: c("void ov_infer_request_free(void *request)"),
    wrapMemory: c(
      "int ov_tensor_create_from_host_ptr(int type, ov_shape_t shape, void *data, _Out_ void **tensor)",
    ),
    freeTensor: c("void ov_tensor_free(void *tensor)"),
    setInput: c("int ov_infer_request_set_input_tensor_by_index(void *request, size_t index, void *tensor)"),
    setOutput: c(
      "int ov_infer_request_set_output_tensor_by_index(void *request, size_t index, void *tensor)",
    ),
    infer: c("int ov_infer_request_infer(void *request)"),
  };
}

/** The library's functions with its status codes as exceptions and its results as values. */
class Bound {
  readonly fn: ReturnType<typeof functionsOf>;
  readonly #koffi: Koffi;

  constructor(koffi: Koffi, library: Library) {
    this.#koffi = koffi;
    this.fn = functionsOf(koffi, library);
  }

  /** @throws Error in OpenVINO's words */
  must(status: unknown): void {
    if (status !== OK) throw new Error(sentence(String(this.fn.lastError() ?? `status ${status}`)));
  }

  /** What a function that makes an object puts into its last argument. */
  made(make: (slot: [Handle | null]) => unknown): Handle {
    const slot: [Handle | null] = [null];
    this.must(make(slot));
    return slot[0] as Handle;
  }

  /** The same, on a worker thread. */
  async madeLater(native: Native, ...args: readonly unknown[]): Promise<Handle> {
    const slot: [Handle | null] = [null];
    this.must(await later(native, ...args, slot));
    return slot[0] as Handle;
  }

  version(): string {
    const words = new BigUint64Array(2); // ov_version_t: two strings
    this.must(this.fn.version(words));
    const build = String(this.#koffi.decode(words, "const char *"));
    this.fn.freeVersion(words);
    return /^\d+(\.\d+)*/.exec(build)?.[0] ?? build;
  }

  core(settings: Readonly<Record<string, string>> = {}): Handle {
    const core = this.made(this.fn.createCore);
    try {
      for (const [key, value] of Object.entries(settings))
        this.must(this.fn.setProperty(core, "CPU", "const char *", key, "const char *", value));
    } catch (error) {
      this.fn.freeCore(core);
      throw error;
    }
    return core;
  }

  property(key: string): string {
    const core = this.core();
    try {
      const word = new BigUint64Array(1);
      this.must(this.fn.getProperty(core, "CPU", key, word));
      const text = String(this.#koffi.decode(word, "const char *"));
      this.fn.freeText(word[0]);
      return text;
    } finally {
      this.fn.freeCore(core);
    }
  }

  /** A tensor on memory of the caller. */
  tensor(type: number, { data, shape }: Memory): Handle {
    const dims = { rank: shape.length, dims: BigInt64Array.from(shape, BigInt) };
    return this.made((slot) => this.fn.wrapMemory(type, dims, this.#koffi.address(data), slot));
  }

  elementType(port: Handle): number {
    const type: [number] = [0];
    try {
      this.must(this.fn.elementType(port, type));
    } finally {
      this.fn.freePort(port);
    }
    return type[0];
  }
}

function bind(koffi: Koffi, library: Library, path: string): OpenVino {
  const ov = new Bound(koffi, library);
  return {
    version: ov.version(),
    path,
    hasBfloat16: () => ov.property("OPTIMIZATION_CAPABILITIES").split(/\s+/).includes("BF16"),
    async compile(bytes, root, settings) {
      const core = ov.core(settings);
      try {
        const model = fromFolder(koffi, root, () =>
          ov.made((slot) => ov.fn.readModel(core, bytes, bytes.length, null, slot)),
        );
        const compiled = await ov
          .madeLater(ov.fn.compileModel, core, model, "CPU", 0)
          .finally(() => ov.fn.freeModel(model));
        return compiledModel(ov, core, compiled);
      } catch (error) {
        ov.fn.freeCore(core);
        throw error;
      }
    },
  };
}

/**
 * OpenVINO looks for a model's external data from the current folder down and nowhere else, so `read` runs in the root of
 * the file system. That folder is the whole process's: it changes below Node, which does not see it, and nothing of ours
 * runs meanwhile. Reading is quick, since weights are only mapped.
 */
function fromFolder<T>(koffi: Koffi, folder: string, read: () => T): T {
  const chdir = koffi.load(null).func("int chdir(const char *path)");
  const back = process.cwd();
  chdir(folder);
  try {
    return read();
  } finally {
    chdir(back);
  }
}

/** Owns `compiled` and `core`. */
function compiledModel(ov: Bound, core: Handle, compiled: Handle): CompiledModel {
  const { fn } = ov;
  const request = ov.made((slot) => fn.createRequest(compiled, slot));
  const sides = {
    input: { port: fn.inputPort, set: fn.setInput, types: new Map<number, number>() },
    output: { port: fn.outputPort, set: fn.setOutput, types: new Map<number, number>() },
  };
  const give = (name: keyof typeof sides, index: number, memory: Memory): void => {
    const { port, set, types } = sides[name];
    const type = types.get(index) ?? ov.elementType(ov.made((slot) => port(compiled, index, slot)));
    types.set(index, type);
    const tensor = ov.tensor(type, memory);
    try {
      ov.must(set(request, index, tensor));
    } finally {
      fn.freeTensor(tensor);
    }
  };
  /** The request points at the memory of its newest run until the next one: this keeps it. */
  const held: Memory[] = [];
  return {
    async infer(inputs, outputs) {
      for (const [i, memory] of inputs.entries()) give("input", i, memory);
      for (const [i, memory] of outputs.entries()) give("output", i, memory);
      held.splice(0, held.length, ...inputs, ...outputs);
      ov.must(await later(fn.infer, request));
    },
    free() {
      fn.freeRequest(request);
      fn.freeCompiled(compiled);
      fn.freeCore(core);
      held.length = 0;
    },
  };
}

/** OpenVINO leads its sentences with the lines of its source that they come from. */
const sentence = (text: string): string =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !/^(Exception from|Check '.*' failed at) /.test(line))
    .join(" ");
