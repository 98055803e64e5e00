/** Drawers on this machine: child processes, started when first needed and again when one dies. */

import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../cli/package.ts";
import { type Crew, type DrawEvent, EngineLost, errorFrom, type Task } from "./crew.ts";
import type { FromEngine, ModelPlaces, ToEngine } from "./engine-messages.ts";
import { onLost, startProcess } from "./start-process.ts";

export interface LocalCrewOptions {
  readonly models: ModelPlaces;
  readonly workers: number;
  /** Compute threads of each. */
  readonly threads: number;
  /** Lines of a drawer's standard error: the engine's own words. */
  onSaid(line: string): void;
}

/** The longest step that we wait for after a stop; what takes longer is taken to hang. */
const stopMs = 60_000;

const enginePath = join(packageRoot, "dist/node/server/engine-process.js");

/** One drawing process and the task that it has. */
class Drawer {
  isBusy = false;
  private child: ChildProcess | null = null;
  private readonly o: LocalCrewOptions;

  constructor(o: LocalCrewOptions) {
    this.o = o;
  }

  private start(): ChildProcess {
    const child = startProcess(enginePath, "pipe");
    child.stderr?.setEncoding("utf8").on("data", (text: string) => this.o.onSaid(text.trimEnd()));
    const forget = (): void => {
      if (this.child === child) this.child = null;
    };
    onLost(child, forget);
    const setup: ToEngine = { type: "setup", models: this.o.models, threads: this.o.threads };
    if (child.connected) child.send(setup, () => {});
    this.child = child;
    return child;
  }

  async draw(task: Task, tell: (event: DrawEvent) => Promise<void>, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const child = this.child ?? this.start();
    const send = (message: ToEngine): void => {
      if (child.connected) child.send(message, () => {}); // a dead one is told by `exit` or `error`
    };
    let told = Promise.resolve();
    const { promise, resolve, reject } = deferred();
    const listen = (message: FromEngine): void => {
      if (message.id !== task.id) return;
      if (message.type === "event") {
        told = told.then(() => tell(message.event));
        told.catch(reject);
      } else if (message.type === "done") told.then(resolve, reject);
      else {
        const { error } = message; // told once the pictures before it are stored
        told.finally(() => reject(signal.aborted ? signal.reason : errorFrom(error)));
      }
    };
    const lose = (how: string): void => reject(signal.aborted ? signal.reason : new EngineLost(how));
    let patience: NodeJS.Timeout | undefined;
    const stop = (): void => {
      send({ type: "stop", id: task.id });
      patience = setTimeout(() => child.kill("SIGKILL"), stopMs);
    };
    child.on("message", listen);
    const listenNoMore = onLost(child, lose);
    signal.addEventListener("abort", stop, { once: true });
    send({ type: "draw", task });
    try {
      await promise;
    } finally {
      clearTimeout(patience);
      child.off("message", listen);
      listenNoMore();
      signal.removeEventListener("abort", stop);
    }
  }

  async close(): Promise<void> {
    const child = this.child;
    if (child === null || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL"); // it holds nothing that must be saved
    await ended;
  }
}

function deferred(): { promise: Promise<void>; resolve: () => void; reject: (reason: unknown) => void } {
  let resolve = (): void => {};
  let reject = (_: unknown): void => {};
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

export class LocalCrew implements Crew {
  private readonly drawers: readonly Drawer[];
  private readonly listeners: (() => void)[] = [];

  constructor(o: LocalCrewOptions) {
    this.drawers = Array.from({ length: o.workers }, () => new Drawer(o));
  }

  get size(): number {
    return this.drawers.length;
  }

  get free(): number {
    return this.drawers.filter(({ isBusy }) => !isBusy).length;
  }

  onFree(listener: () => void): void {
    this.listeners.push(listener);
  }

  async draw(task: Task, tell: (event: DrawEvent) => Promise<void>, signal: AbortSignal): Promise<void> {
    const drawer = this.drawers.find(({ isBusy }) => !isBusy);
    if (drawer === undefined) throw new EngineLost("none that is free");
    drawer.isBusy = true;
    try {
      await drawer.draw(task, tell, signal);
    } finally {
      drawer.isBusy = false;
      for (const listener of this.listeners) listener();
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.drawers.map((drawer) => drawer.close()));
  }
}
