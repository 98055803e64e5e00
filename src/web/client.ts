/** The page's side of the worker: the same events as a pipeline in the page, without its work. */

import type { Exploration } from "../analyze/explore.ts";
import { KoalaError } from "../core/errors.ts";
import type { PipelineEvent } from "../pipeline/events.ts";
import type { Needs } from "../pipeline/needs.ts";
import type { RequestInput } from "../pipeline/request.ts";
import type {
  CallName,
  Calls,
  Download,
  ExploreRequest,
  FromWorker,
  LoadedModel,
  SentError,
  Surroundings,
  ToWorker,
} from "./messages.ts";
import type { StartFiles } from "./start-files.ts";
import type { Structure, StructureRequest } from "./structure.ts";

export interface LoadCalls {
  readonly signal?: AbortSignal;
  onDownload?(download: Download): void;
  onWarning?(message: string): void;
}

interface Pending {
  resolve(result: unknown): void;
  reject(error: unknown): void;
  onMessage?(message: FromWorker): void;
}

/** One worker and the model in it. */
export class WorkerPipeline {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #calls = 0;
  #failure: KoalaError | null = null;

  /** `worker` runs `worker.ts`: `new Worker(new URL("koala-diffusion/web/worker", import.meta.url), { type: "module" })`. */
  constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#hear(data);
    // a script that cannot be had is told by an event that says nothing
    worker.onerror = ({ message }: { readonly message?: string }) =>
      this.#fail(message ?? "a script that did not load");
  }

  /** Why the worker answers no more, which every later call throws too; null while it does. */
  get failure(): KoalaError | null {
    return this.#failure;
  }

  /**
   * Loads a model in place of the one before.
   * @throws KoalaError as `Pipeline.load`
   */
  load(location: string, engine: string, o: LoadCalls = {}): Promise<LoadedModel> {
    return this.#call("load", { location, engine }, o.signal, (message) => {
      if (message.type === "download") o.onDownload?.(message.download);
      if (message.type === "warning") o.onWarning?.(message.message);
    });
  }

  /**
   * Runs a request; aborting ends it within one step, and decodes pictures that are done by then. Files to start from are cut to
   * the request's size; where it has none, the picture's shape is kept.
   * @throws KoalaError as `Pipeline.generate`, E_IMAGE, the signal's reason
   */
  async *generate(
    request: RequestInput,
    { signal, start = null }: { readonly signal?: AbortSignal; readonly start?: StartFiles | null } = {},
  ): AsyncGenerator<PipelineEvent> {
    const waiting: PipelineEvent[] = [];
    let wake = (): void => {};
    let isDone = false;
    const end = this.#call("generate", { request, start }, signal, (message) => {
      if (message.type === "event") waiting.push(message.event);
      wake();
    }).finally(() => {
      isDone = true;
      wake();
    });
    end.catch(() => {}); // told below
    for (;;) {
      const event = waiting.shift();
      if (event !== undefined) yield event;
      else if (isDone) break;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
    await end;
  }

  /** Draws and looks inside. @throws KoalaError as `explore`, the signal's reason */
  explore(
    request: ExploreRequest,
    o: { readonly signal?: AbortSignal; onStep?(step: number, steps: number): void } = {},
  ): Promise<Exploration> {
    return this.#call("explore", request, o.signal, (message) => {
      if (message.type === "explored") o.onStep?.(message.step, message.steps);
    });
  }

  /** What the U-Net of a model or a preset consists of. @throws KoalaError E_MODEL, E_PRESET, and what opening it throws */
  structure(of: StructureRequest): Promise<Structure> {
    return this.#call("structure", of);
  }

  /** Seconds of each stage of the loaded model's denoiser. @throws KoalaError as `Pipeline.stageTimes`, the signal's reason */
  times(
    o: { readonly signal?: AbortSignal; onStep?(step: number, steps: number): void } = {},
  ): Promise<Readonly<Record<string, number>>> {
    return this.#call("times", null, o.signal, (message) => {
      if (message.type === "explored") o.onStep?.(message.step, message.steps);
    });
  }

  /** Bytes that the engine holds in the worker, without a graphics adapter's own memory. They only grow while the worker lives. */
  engineBytes(): Promise<number> {
    return this.#call("engineBytes", null);
  }

  /** What this browser can do and keeps. */
  surroundings(): Promise<Surroundings> {
    return this.#call("surroundings", null);
  }

  /** What a published model in 4 bits needs at a size in pixels. @throws KoalaError E_MODEL */
  needs(preset: string, pixels: number): Promise<Needs> {
    return this.#call("needs", { preset, pixels });
  }

  /** Takes a model out of this browser's storage. */
  async remove(location: string): Promise<void> {
    await this.#call("remove", location);
  }

  /** Ends the worker; what runs in it fails, and so does what is asked of it later. */
  dispose(): void {
    this.#worker.terminate();
    this.#fail("it was ended");
  }

  #call<K extends CallName>(
    call: K,
    argument: Calls[K]["argument"],
    signal?: AbortSignal,
    onMessage?: (message: FromWorker) => void,
  ): Promise<Calls[K]["result"]> {
    const id = ++this.#calls;
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason);
      if (this.#failure !== null) return reject(this.#failure);
      const abort = (): void => this.#post({ id, call: "abort" });
      signal?.addEventListener("abort", abort, { once: true });
      const settle = (): void => signal?.removeEventListener("abort", abort);
      this.#pending.set(id, {
        resolve(result) {
          settle();
          resolve(result as Calls[K]["result"]);
        },
        reject(error) {
          settle();
          reject(signal?.aborted === true ? signal.reason : error);
        },
        ...(onMessage === undefined ? {} : { onMessage }),
      });
      this.#post({ id, call, argument } as ToWorker);
    });
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #hear(message: FromWorker): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    if (message.type !== "result" && message.type !== "error") {
      pending.onMessage?.(message);
      return;
    }
    this.#pending.delete(message.id);
    if (message.type === "result") pending.resolve(message.result);
    else pending.reject(received(message.error));
  }

  #fail(reason: string): void {
    this.#failure ??= new KoalaError("E_INTERNAL", {
      where: "worker",
      expected: "an answer",
      got: reason,
      hint: "Try again, or reload the page; a model that needs more memory than the browser gives ends this way.",
    });
    for (const { reject } of this.#pending.values()) reject(this.#failure);
    this.#pending.clear();
  }
}

function received({ message, code, where, expected, got, hint }: SentError): Error {
  return code === null
    ? new Error(message)
    : new KoalaError(code, { where, expected, got, ...(hint === null ? {} : { hint }) });
}
