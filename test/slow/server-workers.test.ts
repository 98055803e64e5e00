/** A worker with several drawers, in front of a real Redis. */

import { pino } from "pino";
import { afterEach, expect, it } from "vitest";
import { KoalaError } from "../../src/core/errors.ts";
import type { Crew, DrawEvent, Task } from "../../src/node/server/crew.ts";
import { RedisCrew } from "../../src/node/server/redis-crew.ts";
import { startWorker } from "../../src/node/server/redis-worker.ts";
import { resolveRequest } from "../../src/pipeline/request.ts";
import { defaults } from "../fake-world.ts";
import { killAll, startRedis } from "./server-processes.ts";

afterEach(killAll);

const log = pino({ level: "silent" });

it("draws as many pictures at once as it has drawers, and the server knows how many those are", async () => {
  const { url } = await startRedis();
  let atOnce = 0;
  let most = 0;
  const drawers: Crew = {
    ...{ size: 3, free: 3 },
    onFree() {},
    async draw(_task, tell) {
      most = Math.max(most, ++atOnce);
      await new Promise((resolve) => setTimeout(resolve, 300));
      await tell({ type: "picture", index: 0, seed: 1, png: Uint8Array.of(1), residentBytes: 1 });
      atOnce--;
    },
    async close() {},
  };
  const worker = await startWorker(url, ["koala-emoji"], drawers, log);
  const crew = await RedisCrew.open(url, ["koala-emoji"], log);
  try {
    await expect.poll(() => crew.size).toBe(3);
    expect(crew.free).toBe(4); // one more, so that none waits for the server between two jobs
    const request = resolveRequest({ prompt: "apple", seed: 1 }, defaults);
    const task = (id: string): Task => ({ id, model: "koala-emoji", request });
    const never = new AbortController().signal;
    await Promise.all(["a", "b", "c", "d"].map((id) => crew.draw(task(id), async () => {}, never)));
    expect(most).toBe(3);
  } finally {
    await crew.close();
    await worker.close();
  }
});

it("keeps the pictures that were done before a job failed, as a drawer of the server's own machine does", async () => {
  const { url } = await startRedis();
  const failure = { where: "vae", expected: "finite values", got: "NaN" };
  const drawers: Crew = {
    ...{ size: 1, free: 1 },
    onFree() {},
    async draw(_task, tell) {
      await tell({ type: "picture", index: 0, seed: 1, png: Uint8Array.of(1), residentBytes: 1 });
      throw new KoalaError("E_NAN", failure);
    },
    async close() {},
  };
  const worker = await startWorker(url, ["koala-emoji"], drawers, log);
  const crew = await RedisCrew.open(url, ["koala-emoji"], log);
  try {
    const request = resolveRequest({ prompt: "apple", seed: 1, count: 2 }, defaults);
    const told: DrawEvent[] = [];
    const tell = async (event: DrawEvent): Promise<void> => void told.push(event);
    const drawn = crew.draw({ id: "a", model: "koala-emoji", request }, tell, new AbortController().signal);
    await expect(drawn).rejects.toMatchObject({ code: "E_NAN", ...failure });
    expect(told).toEqual([{ type: "picture", index: 0, seed: 1, png: Uint8Array.of(1), residentBytes: 1 }]);
  } finally {
    await crew.close();
    await worker.close();
  }
});
