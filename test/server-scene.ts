/** A server without a socket and without an engine, in a folder of its own. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach } from "vitest";
import type { Exploration } from "../src/analyze/explore.ts";
import type { NsfwPolicy } from "../src/node/nsfw/policy.ts";
import type { AccessOptions } from "../src/node/server/access.ts";
import { createApp } from "../src/node/server/app.ts";
import type { Inspector } from "../src/node/server/inspector.ts";
import type { JobView } from "../src/node/server/job.ts";
import { Jobs } from "../src/node/server/jobs.ts";
import { Meters } from "../src/node/server/metrics.ts";
import { Store } from "../src/node/server/store.ts";
import { openStudio } from "../src/node/server/studio.ts";
import { FakeCrew, fakeModels } from "./fake-crew.ts";

export interface Scene {
  readonly crew: FakeCrew;
  readonly jobs: Jobs;
  readonly store: Store;
  readonly folder: string;
  /** Sends a request; a body that is no text is sent as JSON. */
  ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>;
  remove(): Promise<void>;
}

export interface SceneOptions {
  readonly access?: Partial<AccessOptions>;
  readonly capacity?: number;
  readonly folder?: string;
  readonly runs?: string;
  readonly studio?: string;
  readonly nsfw?: NsfwPolicy;
}

const textOf = (body: unknown): string => (typeof body === "string" ? body : JSON.stringify(body));

/** Says the same of every model. */
const fakeInspector: Inspector = {
  explore: async (_model, request) =>
    ({ request, looks: [{ self: Float32Array.of(0.25, 0.75) }] }) as unknown as Exploration,
  times: async () => ({ DW1: 0.5, stem: 0.25 }),
};

export async function openScene(o: SceneOptions = {}): Promise<Scene> {
  const folder = o.folder ?? mkdtempSync(join(tmpdir(), "koala-server-"));
  const store = await Store.open(folder);
  const crew = new FakeCrew();
  const meters = new Meters();
  const log = pino({ level: "silent" });
  const jobs = new Jobs({
    ...{ store, crew, capacity: o.capacity ?? 4, meters, log },
    ...(o.nsfw === undefined ? {} : { nsfw: o.nsfw }),
  });
  const app = createApp({
    ...{ jobs, store, models: fakeModels(), meters, log },
    access: { host: "127.0.0.1", names: [], tokens: [], origins: [], ...o.access },
    inspector: fakeInspector,
    runs: o.runs ?? null,
    page: openStudio(o.studio ?? join(folder, "no-studio")),
  });
  return {
    ...{ crew, jobs, store, folder },
    ask: async (method, path, body, headers = {}) =>
      app.request(path, {
        method,
        headers: { "content-type": "application/json", ...headers },
        ...(body === undefined
          ? {}
          : { body: body instanceof Uint8Array ? new Uint8Array(body) : textOf(body) }),
      }),
    async remove() {
      await jobs.close();
      store.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Opens scenes that are removed after each test of a file. */
export function scenes(): (o?: SceneOptions) => Promise<Scene> {
  const opened: Scene[] = [];
  afterEach(async () => {
    for (const one of opened.splice(0)) await one.remove();
  });
  return async (o = {}) => {
    const one = await openScene(o);
    opened.push(one);
    return one;
  };
}

/** Status and sentence of a request's error: what every door says. */
export const says = async (response: Response): Promise<unknown> => [
  response.status,
  ((await response.json()) as { error: { message: string } }).error.message,
];

/** A job that was taken. */
export const accepted = async (s: Scene, body: object, headers = {}): Promise<JobView> =>
  (await (await s.ask("POST", "/api/jobs", body, headers)).json()) as JobView;

/** The events of a stream that has ended. */
export async function eventsOf(response: Response): Promise<{ name: string; id: string; data: unknown }[]> {
  const text = await response.text();
  return text
    .split("\n\n")
    .filter((block) => block.includes("data:"))
    .map((block) => {
      const field = (name: string): string => new RegExp(`^${name}: ?(.*)$`, "m").exec(block)?.[1] ?? "";
      return { name: field("event"), id: field("id"), data: JSON.parse(field("data")) };
    });
}
