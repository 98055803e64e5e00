/** The one seam to where the package runs: `#host` is `node/host.ts` under Node, `web/host.ts` in a browser. */

import { host as here } from "#host";
import type { TensorStore } from "../tensor/stored.ts";
import type { Engine, EngineStatus, Precision } from "./session.ts";

/** The files of a model; `weights/files.ts` is the same shape, said here because this folder may not import that one. */
export interface HostFiles {
  readonly location: string;
  list(): Promise<readonly string[]>;
  size(path: string): Promise<number>;
  read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
  localPath(path: string): string | null;
}

export interface OpenOptions {
  /** Never touch the network. */
  readonly isOffline?: boolean;
  /**
   * Components of a pipeline whose weights are wanted, by the names of their folders; of others their small files do. Absent: all.
   * A host may fetch more.
   */
  readonly weightsOf?: readonly string[];
  readonly signal?: AbortSignal;
  /** Bytes of a download so far, for progress. */
  onProgress?(file: string, bytes: number, total: number): void;
}

/** What `auto` chooses an engine by. */
export interface Work {
  readonly precision: Precision;
  /** The weights, a store a network; networks run in turns. */
  readonly stores: readonly TensorStore[];
  /** Bytes that the process may take; absent: what is free. */
  readonly memory?: number;
}

export interface Host {
  /**
   * A folder, a single checkpoint file, or a hub id (`owner/name`), which is downloaded first.
   * @throws KoalaError E_MODEL, E_HUB, E_OFFLINE, E_CHECKSUM
   */
  openModel(location: string, o?: OpenOptions): Promise<HostFiles>;
  /** Every engine that this package knows, there or not. */
  engines(): Promise<readonly EngineStatus[]>;
  /**
   * `auto` is the fastest that is there for the work at hand.
   * @throws KoalaError E_ENGINE naming those that are there
   */
  engine(name: string, work?: Work): Promise<Engine>;
}

export const host: Host = here;
