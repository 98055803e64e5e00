/** Who draws for a server: processes of this machine, or workers behind Redis. */

import type { Logger } from "pino";
import { KoalaError } from "../../core/errors.ts";
import { physicalCores } from "../cores.ts";
import { redisUrl } from "./addresses.ts";
import type { Crew } from "./crew.ts";
import type { ModelPlaces } from "./engine-messages.ts";
import { LocalCrew } from "./local-crew.ts";

export interface CrewOptions {
  readonly models: ModelPlaces;
  /** Pictures drawn at once. */
  readonly workers: number;
  /** Compute threads of each drawing process; absent: the cores shared out among them. */
  readonly threads?: number;
  readonly log: Logger;
}

/** The drawers of this machine. */
export function localCrew(o: CrewOptions): LocalCrew {
  return new LocalCrew({
    models: o.models,
    workers: o.workers,
    threads: o.threads ?? Math.max(1, Math.floor(physicalCores() / o.workers)),
    onSaid: (line) => o.log.debug({ line }, "engine"),
  });
}

/** The two files that speak to Redis, and the packages that only they need. @throws KoalaError E_ENGINE, E_FLAG */
async function withRedis<T>(url: string, use: () => Promise<T>): Promise<T> {
  const { hostname, port } = redisUrl(url); // not the password
  try {
    return await use();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const isMissing = code === "ERR_MODULE_NOT_FOUND";
    throw new KoalaError("E_ENGINE", {
      where: "--redis",
      expected: isMissing
        ? "the packages bullmq and ioredis"
        : `a Redis server at ${hostname}:${port === "" ? 6379 : port}`,
      got: isMissing ? "none" : message === "Connection is closed." ? "nothing that answers there" : message,
      hint: isMissing ? "They are optional: npm install bullmq ioredis" : "redis-server starts one.",
      cause,
    });
  }
}

export const openRedisCrew = (url: string, models: ModelPlaces, log: Logger): Promise<Crew> =>
  withRedis(url, async () => {
    const { RedisCrew } = await import("./redis-crew.ts");
    return RedisCrew.open(url, Object.keys(models), log);
  });

/** A worker of this machine for the server behind `url`. @throws KoalaError E_ENGINE, E_FLAG */
export const openWorker = (url: string, o: CrewOptions): Promise<{ close(): Promise<void> }> =>
  withRedis(url, async () => {
    const { startWorker } = await import("./redis-worker.ts");
    return startWorker(url, Object.keys(o.models), localCrew(o), o.log);
  });
