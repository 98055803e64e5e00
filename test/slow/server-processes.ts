/** Servers, workers and a Redis as processes of their own, to be killed. */

import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";

const koala = join(import.meta.dirname, "../../bin/koala.js");

export interface Started {
  readonly child: ChildProcess;
  /** The first line on standard output. */
  readonly line: string;
  /** Ends it at once, and waits until it has. */
  kill(): Promise<void>;
}

const running = new Set<Started>();

/** Resolves with the first line that matches. */
export async function start(program: string, argv: readonly string[], matching = /.+/): Promise<Started> {
  const child = spawn(program, argv, { stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let said = "";
  const line = await new Promise<string>((resolve, reject) => {
    const hear = (chunk: Buffer): void => {
      said += chunk;
      const found = said.split("\n").find((one) => matching.test(one));
      if (found !== undefined) resolve(found);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", (chunk: Buffer) => {
      said = (said + chunk).slice(-4000);
    });
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${program} ended with ${code}: ${said}`)));
  });
  const started: Started = {
    ...{ child, line },
    async kill() {
      running.delete(started);
      child.kill("SIGKILL");
      await ended;
    },
  };
  running.add(started);
  return started;
}

export const startKoala = (...argv: string[]): Promise<Started> => start(process.execPath, [koala, ...argv]);

export async function killAll(): Promise<void> {
  await Promise.all([...running].map((one) => one.kill()));
}

export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

/** Debian's redis-server, which keeps nothing on the disk. */
export async function startRedis(): Promise<Started & { readonly url: string }> {
  const port = await freePort();
  const flags = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const started = await start("redis-server", flags, /Ready to accept connections/);
  return { ...started, url: `redis://127.0.0.1:${port}` };
}
