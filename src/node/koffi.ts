/** The one place that loads koffi, which calls functions of C libraries: Open MPI's and OpenVINO's. */

/** A function of a library: waits, or calls back from a worker thread. */
export interface Native {
  (...args: readonly unknown[]): unknown;
  async(...args: readonly unknown[]): void;
}

export interface Library {
  func(prototype: string): Native;
  /** The address of an exported variable. */
  symbol(name: string): unknown;
}

/** What is used of the package. */
export interface Koffi {
  config(changes: { readonly async_stack_size: number }): unknown;
  /** null: what the process has loaded already. */
  load(path: string | null, o?: { readonly global: boolean }): Library;
  struct(name: string, fields: Readonly<Record<string, string>>): unknown;
  /** The address of the bytes of a typed array or an array buffer. */
  address(value: unknown): bigint;
  decode(pointer: unknown, type: string, length?: number): unknown;
}

/**
 * Bytes of stack of a call on a worker thread. koffi's default of 128 KiB is little for a library of plug-ins (Open MPI)
 * and for a compiler that walks graphs (OpenVINO): 8 MiB, what Linux gives a thread.
 */
const STACK = 8 * 2 ** 20;

const configured = new Set<Koffi>();

/** Its settings are fixed by the first library that it loads, so all users share them. Rejects where it is not installed. */
export async function loadKoffi(from = "koffi"): Promise<Koffi> {
  const koffi = (await import(from)) as Koffi;
  if (!configured.has(koffi)) koffi.config({ async_stack_size: STACK });
  configured.add(koffi);
  return koffi;
}

/** `RTLD_NOW` of Linux and macOS. */
const NOW = 2;

/**
 * Opens a library once more and never closes it. koffi closes what it opened when the process ends, before worker threads
 * do: code that those have left to run at their end is gone then, and the process crashes.
 */
export function keepLoaded(koffi: Koffi, name: string): void {
  if (process.platform === "win32") return;
  koffi.load(null).func("void *dlopen(const char *name, int flags)")(name, NOW);
}

/** Calls on a worker thread; the event loop goes on. */
export const later = (native: Native, ...args: readonly unknown[]): Promise<number> =>
  new Promise((resolve, reject) => {
    native.async(...args, (error: Error | null, code: number) => (error ? reject(error) : resolve(code)));
  });

/** The first line of what a loader says. */
export const message = (cause: unknown): string =>
  cause instanceof Error ? (cause.message.split("\n")[0] ?? "") : String(cause);
