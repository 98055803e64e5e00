/** Putting a server together: store, crew, jobs and app behind a socket. */

import type { Server as HttpServer } from "node:http";
import { join } from "node:path";
import { serve as listen } from "@hono/node-server";
import type { Logger } from "pino";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import type { PrecisionName } from "../../pipeline/request.ts";
import { packageRoot } from "../cli/package.ts";
import { physicalCores } from "../cores.ts";
import { openFolder } from "../files.ts";
import { nsfwBundle } from "../nsfw/check.ts";
import type { NsfwPolicy } from "../nsfw/policy.ts";
import { isLoopback } from "./access.ts";
import { createApp } from "./app.ts";
import type { Crew } from "./crew.ts";
import type { ModelPlaces } from "./engine-messages.ts";
import { LocalInspector } from "./inspector.ts";
import { Jobs } from "./jobs.ts";
import { LocalCrew } from "./local-crew.ts";
import { Meters } from "./metrics.ts";
import { type Limits, Models, openServed } from "./models.ts";
import { Store } from "./store.ts";
import { isBuilt, openStudio } from "./studio.ts";

export interface ServeOptions {
  readonly models: ModelPlaces;
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  readonly tokens: readonly string[];
  readonly names: readonly string[];
  readonly origins: readonly string[];
  readonly capacity: number;
  readonly workers: number;
  /** Compute threads of each drawing process; absent: the cores shared out among them. */
  readonly threads?: number;
  readonly data: string;
  readonly redis?: string;
  readonly runs?: string;
  /** What is done about explicit pictures; absent: nothing, and nobody looks. */
  readonly nsfw?: NsfwPolicy;
  readonly limits: Limits;
  /** That requests may name. */
  readonly precisions: readonly PrecisionName[];
  readonly log: Logger;
}

export interface RunningServer {
  readonly url: string;
  /** Whether the studio is there to be shown. */
  readonly hasPage: boolean;
  close(): Promise<void>;
}

/** The drawers of this machine. */
export function localCrew(
  o: Pick<ServeOptions, "models" | "workers" | "log"> & { readonly threads?: number },
): LocalCrew {
  return new LocalCrew({
    models: o.models,
    workers: o.workers,
    threads: o.threads ?? Math.max(1, Math.floor(physicalCores() / o.workers)),
    onSaid: (line) => o.log.debug({ line }, "engine"),
  });
}

/** The two files that speak to Redis, and the packages that only they need. @throws KoalaError E_ENGINE */
async function withRedis<T>(url: string, use: () => Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const isMissing = code === "ERR_MODULE_NOT_FOUND";
    throw new KoalaError("E_ENGINE", {
      where: "--redis",
      expected: isMissing ? "the packages bullmq and ioredis" : `a Redis server at ${withoutPassword(url)}`,
      got: isMissing ? "none" : message === "Connection is closed." ? "nothing that answers there" : message,
      hint: isMissing ? "They are optional: npm install bullmq ioredis" : "redis-server starts one.",
      cause,
    });
  }
}

function withoutPassword(url: string): string {
  const parsed = URL.parse?.(url) ?? new URL(url);
  return `${parsed.hostname}:${parsed.port === "" ? 6379 : parsed.port}`;
}

export const openRedisCrew = (url: string, models: ModelPlaces, log: Logger): Promise<Crew> =>
  withRedis(url, async () => {
    const { RedisCrew } = await import("./redis-crew.ts");
    return RedisCrew.open(url, Object.keys(models), log);
  });

/** A worker of this machine for the server behind `url`. @throws KoalaError E_ENGINE */
export const openWorker = (
  url: string,
  o: Parameters<typeof localCrew>[0],
): Promise<{ close(): Promise<void> }> =>
  withRedis(url, async () => {
    const { startWorker } = await import("./redis-worker.ts");
    return startWorker(url, Object.keys(o.models), localCrew(o), o.log);
  });

/** Starts to listen once everything is open. @throws KoalaError for what cannot be opened or bound */
export async function startServer(o: ServeOptions): Promise<RunningServer> {
  check(isLoopback(o.host) || o.tokens.length > 0, "E_FLAG", () => ({
    where: "--host",
    expected: "a loopback address, or a token",
    got: `${o.host} without one`,
    hint: "Others could use this machine: --token SECRET lets in only those who know it.",
  }));
  const { nsfw = "off" } = o;
  if (nsfw !== "off" && o.redis === undefined) nsfwBundle(); // says now that it is missing, and not at the first picture
  const models = new Models(
    await Promise.all(Object.entries(o.models).map(([name, place]) => openServed(name, place, o.precisions))),
    o.limits,
  );
  if (o.runs !== undefined) await openFolder(o.runs);
  const store = await Store.open(o.data);
  let crew: Crew;
  try {
    crew = o.redis === undefined ? localCrew(o) : await openRedisCrew(o.redis, o.models, o.log);
  } catch (error) {
    store.close();
    throw error;
  }
  const studio = join(packageRoot, "dist/studio");
  const meters = new Meters();
  const jobs = new Jobs({ store, crew, capacity: o.capacity, nsfw, meters, log: o.log });
  const app = createApp({
    ...{ jobs, store, models, meters, log: o.log },
    inspector: new LocalInspector(o.models, o.threads),
    access: { host: o.host, names: o.names, tokens: o.tokens, origins: o.origins },
    runs: o.runs ?? null,
    page: openStudio(studio),
  });
  const shut = async (): Promise<void> => {
    await jobs.close();
    store.close();
  };
  let socket: HttpServer;
  try {
    socket = await bound(o, app.fetch);
  } catch (error) {
    await shut();
    throw error;
  }
  jobs.resume();
  const address = socket.address();
  const port = typeof address === "object" && address !== null ? address.port : o.port;
  return {
    url: `http://${o.host.includes(":") ? `[${o.host}]` : o.host}:${port}`,
    hasPage: isBuilt(studio),
    async close() {
      const closed = new Promise((resolve) => socket.close(resolve));
      await jobs.close();
      socket.closeAllConnections();
      await closed;
      store.close();
    },
  };
}

type Fetch = Parameters<typeof listen>[0]["fetch"];

async function bound({ host, port }: ServeOptions, fetch: Fetch): Promise<HttpServer> {
  const words: Readonly<Record<string, string>> = {
    EADDRINUSE: "one in use",
    EADDRNOTAVAIL: "an address that this machine has not",
    EACCES: "no permission",
    ENOTFOUND: "an address that this machine has not",
  };
  return new Promise<HttpServer>((resolve, reject) => {
    const socket = listen({ fetch, hostname: host, port }, () => resolve(socket)) as HttpServer;
    socket.once("error", (cause: NodeJS.ErrnoException) =>
      reject(
        new KoalaError("E_FLAG", {
          where: "--host and --port",
          expected: "an address and a port that are free",
          got: `${host} ${port}: ${words[cause.code ?? ""] ?? cause.message}`,
          cause,
        }),
      ),
    );
  });
}
