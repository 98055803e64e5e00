/** The page's side against workers that do not live. */

import { beforeEach, expect, it } from "vitest";
import { WorkerPipeline } from "./client.ts";
import type { ToWorker } from "./messages.ts";

/** Answers nothing. */
class MuteWorker {
  onmessage: unknown = null;
  onerror: ((event: { readonly message?: string }) => void) | null = null;
  readonly heard: string[] = [];
  postMessage({ call }: ToWorker): void {
    this.heard.push(call);
  }
  terminate(): void {}
}

let worker: MuteWorker;
let pipeline: WorkerPipeline;
beforeEach(() => {
  worker = new MuteWorker();
  pipeline = new WorkerPipeline(worker as unknown as Worker);
});

const said = (reason: string): string =>
  `worker: expected an answer, got ${reason} [E_INTERNAL]\nTry again, or reload the page; a model that needs more memory than the browser gives ends this way.`;

it("fails what waits for a worker whose script did not load, and all that is asked of it later", async () => {
  const waiting = pipeline.surroundings();
  worker.onerror?.({}); // of a script that cannot be had the browser says no more
  const message = said("a script that did not load");
  await expect(waiting).rejects.toThrow(message);
  await expect(pipeline.load("/models/x", "auto")).rejects.toThrow(message);
  await expect(pipeline.generate({ prompt: "" }).next()).rejects.toThrow(message);
  expect(worker.heard).toEqual(["surroundings"]);
});

it("says why the worker ended first, and posts no abort to it", async () => {
  expect(pipeline.failure).toBeNull();
  const stop = new AbortController();
  worker.onerror?.({ message: "out of memory" });
  pipeline.dispose();
  const later = pipeline.times({ signal: stop.signal });
  stop.abort();
  await expect(later).rejects.toThrow(said("out of memory"));
  expect(pipeline.failure?.got).toBe("out of memory");
  expect(worker.heard).toEqual([]);
});

it("fails what is asked after it was disposed of", async () => {
  pipeline.dispose();
  await expect(pipeline.engineBytes()).rejects.toThrow(said("it was ended"));
});
