/** Everything that the command line touches outside itself; tests hand in another world. */

import type { Log } from "../../core/log.ts";
import type { PipelineEvent } from "../../pipeline/events.ts";
import type { LoraChoice } from "../../pipeline/loras.ts";
import type { MemoryPlan, VaeChoice } from "../../pipeline/memory.ts";
import type { GenerateOptions } from "../../pipeline/pipeline.ts";
import type { Defaults, PrecisionName, Request, RequestInput, Size } from "../../pipeline/request.ts";
import type { Start } from "../../pipeline/start.ts";
import type { HostFiles, OpenOptions } from "../../runtime/host.ts";
import type { EngineStatus } from "../../runtime/session.ts";
import { type Communicator, single } from "../../train/parallel.ts";

/** What the command line needs of a `Pipeline`. */
export interface Generator {
  readonly location: string;
  readonly family: string;
  readonly defaults: Defaults;
  readonly engineName: string;
  readonly engineReason?: string | undefined;
  resolve(request: RequestInput, start?: Start): Request;
  sizeLike(picture: Size, said?: Pick<RequestInput, "width" | "height">): Size;
  plan(request: Request): MemoryPlan;
  generate(request: RequestInput, o?: GenerateOptions): AsyncGenerator<PipelineEvent>;
  dispose(): Promise<void>;
}

export interface GeneratorOptions {
  readonly engine?: string;
  readonly precision?: PrecisionName;
  readonly cache?: string;
  readonly threads?: number;
  readonly base?: string;
  readonly memory?: number;
  readonly freeBytes?: number;
  readonly vae?: VaeChoice;
  readonly otherVae?: string;
  readonly loras?: readonly LoraChoice[];
  readonly isOffline?: boolean;
  readonly signal?: AbortSignal;
  readonly log?: Log;
  readonly onProgress?: (file: string, bytes: number, total: number) => void;
}

export interface World {
  readonly stdout: NodeJS.WritableStream;
  /** A terminal when it has `isTTY`: then it shows bars and colours. */
  readonly stderr: NodeJS.WritableStream & {
    readonly isTTY?: boolean;
    readonly columns?: number;
    hasColors?(): boolean;
  };
  /**
   * Calls `stop` on the first of each of `signals`, Ctrl-C and what `timeout` and service managers send if none are named; the
   * second ends the process as always. Returns how to stop listening.
   */
  onInterrupt(stop: () => void, signals?: readonly NodeJS.Signals[]): () => void;
  /** The processes of the job that this one is of; `single` where it was started alone. Once a process. */
  join(): Promise<Communicator>;
  load(location: string, o: GeneratorOptions): Promise<Generator>;
  openModel(location: string, o: OpenOptions): Promise<HostFiles>;
  engines(): Promise<readonly EngineStatus[]>;
}

/** The exit code of a process that Ctrl-C ended, by the shells' custom: 128 + SIGINT. */
export const interrupted = 130;

export const realWorld: World = {
  stdout: process.stdout,
  stderr: process.stderr,
  onInterrupt(stop, signals = ["SIGINT", "SIGTERM"]) {
    for (const signal of signals) process.once(signal, stop);
    return () => {
      for (const signal of signals) process.removeListener(signal, stop);
    };
  },
  async join() {
    const { openMpi } = await import("../mpi.ts");
    return (await openMpi()) ?? single;
  },
  async load(location, o) {
    const { Pipeline } = await import("../../pipeline/pipeline.ts");
    return Pipeline.load(location, o);
  },
  async openModel(location, o) {
    const { host } = await import("../../runtime/host.ts");
    return host.openModel(location, o);
  },
  async engines() {
    const { host } = await import("../../runtime/host.ts");
    return host.engines();
  },
};
