/** A server put together, without a socket: store, crew, jobs, and the app that answers requests. */

import { join } from "node:path";
import { check } from "../../core/assert.ts";
import type { PrecisionName } from "../../pipeline/request.ts";
import { packageRoot } from "../cli/package.ts";
import { openFolder } from "../files.ts";
import { nsfwBundle } from "../nsfw/check.ts";
import type { NsfwPolicy } from "../nsfw/policy.ts";
import { type AccessOptions, isLoopback } from "./access.ts";
import { hostName, redisUrl, webOrigin } from "./addresses.ts";
import { createApp } from "./app.ts";
import type { Crew } from "./crew.ts";
import { type CrewOptions, localCrew, openRedisCrew } from "./crews.ts";
import { LocalInspector } from "./inspector.ts";
import { Jobs } from "./jobs.ts";
import { Meters } from "./metrics.ts";
import { type Limits, Models, openServed } from "./models.ts";
import { Store } from "./store.ts";
import { isBuilt, openStudio } from "./studio.ts";
import { holdersOf } from "./tokens.ts";

export interface AppOptions extends CrewOptions, AccessOptions {
  /** Jobs that may wait. */
  readonly capacity: number;
  /** Folder of jobs, pictures and settings. */
  readonly data: string;
  /** Workers on any machine draw, through this Redis. */
  readonly redis?: string;
  /** Folder of training runs that are shown. */
  readonly runs?: string;
  /** What is done about explicit pictures; absent: nothing, and nobody looks. */
  readonly nsfw?: NsfwPolicy;
  readonly limits: Limits;
  /** That requests may name, the usual one first; null: all that a model has. */
  readonly precisions: readonly PrecisionName[] | null;
}

export interface OpenApp {
  /** Answers a request as a server's socket would. `env` is what the listener of `@hono/node-server` knows of the connection. */
  fetch(request: Request, env?: unknown): Response | Promise<Response>;
  /** Whether the studio is there to be shown. */
  readonly hasPage: boolean;
  /** Takes up what waited or ran when the folder's last server ended. */
  resume(): void;
  /** Puts the running jobs back into the queue; resolves when nothing draws any more. `release` then lets go of the folder. */
  stop(): Promise<void>;
  release(): void;
}

/** @throws KoalaError for what cannot be opened */
export async function openApp(options: AppOptions): Promise<OpenApp> {
  const o = { ...options, names: options.names.map(hostName) };
  for (const origin of o.origins) webOrigin("--cors", origin);
  if (o.url !== undefined) webOrigin("--url", o.url);
  if (o.redis !== undefined) redisUrl(o.redis);
  check(isLoopback(o.host) || o.tokens.length > 0, "E_FLAG", () => ({
    where: "--host",
    expected: "a loopback address, or a token",
    got: `${o.host} without one`,
    hint: "Others could use this machine: --token SECRET lets in only those who know it.",
  }));
  holdersOf(o.tokens); // refuses tokens that cannot be told apart before anything is opened
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
    inspector: new LocalInspector(o.models, o.threads, nsfw),
    access: o,
    runs: o.runs ?? null,
    page: openStudio(studio),
  });
  return {
    fetch: (request, env) => app.fetch(request, env as object | undefined),
    hasPage: isBuilt(studio),
    resume: () => jobs.resume(),
    stop: () => jobs.close(),
    release: () => store.close(),
  };
}
