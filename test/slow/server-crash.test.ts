/** Servers and workers killed at any moment: every accepted job is drawn, and none twice. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { JobView } from "../../src/node/server/job.ts";
import { freePort, killAll, type Started, startKoala, startRedis } from "./server-processes.ts";

let data = "";
beforeAll(() => {
  data = mkdtempSync(join(tmpdir(), "koala-crash-"));
});
afterEach(killAll);
afterAll(() => rmSync(data, { recursive: true, force: true }));

const headers = { "content-type": "application/json" };
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Accepted or not: only an answer counts. */
async function submit(url: string, seed: number, more = {}): Promise<string | null> {
  const job = { prompt: `apple ${seed}`, seed, steps: 3, width: 64, height: 64, count: 2, ...more };
  try {
    const response = await fetch(`${url}/api/jobs`, { method: "POST", headers, body: JSON.stringify(job) });
    return response.status === 202 ? ((await response.json()) as JobView).id : null;
  } catch {
    return null; // the server is down
  }
}

const list = async (url: string): Promise<JobView[]> =>
  ((await (await fetch(`${url}/api/jobs?limit=500`)).json()) as { jobs: JobView[] }).jobs;

const doneIn = async (url: string): Promise<number> =>
  (await list(url)).filter(({ state }) => state === "done").length;

/** Waits until all that was accepted is done, and looks at each result. */
async function expectAllDone(url: string, accepted: readonly string[]): Promise<void> {
  await expect
    .poll(
      async () => {
        const jobs = await list(url).catch(() => []);
        return accepted.filter((id) => jobs.find((job) => job.id === id)?.state !== "done");
      },
      { timeout: 400_000, interval: 1000 },
    )
    .toEqual([]);
  for (const { id, pictures, request } of await list(url)) {
    if (!accepted.includes(id)) continue;
    expect(pictures.map(({ seed }) => seed)).toEqual([request.seed, request.seed + 1]);
    for (const { url: picture } of pictures) expect((await fetch(`${url}${picture}`)).status).toBe(200);
  }
}

describe("kill -9", () => {
  it("of the server, ten times at random: no accepted job is lost, none has two results", async () => {
    const port = String(await freePort());
    const folder = join(data, "server");
    const begin = (): Promise<Started> =>
      startKoala("serve", "--port", port, "--data", folder, "--queue", "200");
    const url = `http://127.0.0.1:${port}`;
    const accepted: string[] = [];
    let seed = 0;
    for (let kill = 0; kill < 10; kill++) {
      const server = await begin();
      const before = await doneIn(url);
      for (let i = 0; i < 3; i++) {
        const id = await submit(url, seed++);
        if (id !== null) accepted.push(id);
      }
      // every other time one more is done: a job that runs at three kills in a row would be taken for their reason
      if (kill % 2 === 1)
        await expect.poll(() => doneIn(url), { timeout: 120_000, interval: 100 }).toBeGreaterThan(before);
      await pause(Math.random() * 4000);
      await server.kill();
    }
    await begin();
    expect(accepted.length).toBe(30);
    await expectAllDone(url, accepted);
    expect((await list(url)).length).toBe(30);
  });

  it("of an engine mid-picture: its job is drawn by the next", async () => {
    const server = await startKoala("serve", "--port", "0", "--data", join(data, "engine"));
    const id = (await submit(server.line, 1, { steps: 150, width: 128, height: 128 })) ?? "";
    await expect.poll(async () => (await list(server.line))[0]?.state, { timeout: 60_000 }).toBe("running");
    await pause(3000);
    const { execFileSync } = await import("node:child_process");
    execFileSync("pkill", ["-KILL", "-P", String(server.child.pid)]); // its children, and no others
    await expectAllDone(server.line, [id]);
  });

  it("of workers mid-picture, and of the server meanwhile: the job runs again elsewhere", async () => {
    const redis = await startRedis();
    const port = String(await freePort());
    const url = `http://127.0.0.1:${port}`;
    const folder = join(data, "redis");
    const flags = ["serve", "--port", port, "--data", folder, "--queue", "200", "--redis", redis.url];
    let server = await startKoala(...flags);
    const work = (): Promise<Started> => startKoala("worker", "--redis", redis.url);
    const accepted: string[] = [];
    for (let seed = 0; seed < 12; seed++) accepted.push((await submit(url, seed)) ?? "");
    for (let kill = 0; kill < 8; kill++) {
      const worker = await work();
      await pause(1000 + Math.random() * 5000);
      await worker.kill();
      if (kill === 1) {
        await server.kill();
        server = await startKoala(...flags);
      }
    }
    await work();
    await expectAllDone(url, accepted);
    expect((await list(url)).length).toBe(12);
  });
});
