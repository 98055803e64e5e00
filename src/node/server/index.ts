/** The door `koala-diffusion/server`: the server of `koala serve` inside another program, as a function from Request to Response. */

import { pino } from "pino";
import { KoalaError } from "../../core/errors.ts";
import { nearest } from "../../core/nearest.ts";
import { usualModel } from "../cli/package.ts";
import type { ModelPlace } from "./engine-messages.ts";
import { placesOf } from "./models.ts";
import { type AppOptions, openApp } from "./open.ts";
import { usual } from "./usual.ts";

export type { Limits } from "./models.ts";

/** What differs from the flags of `koala serve` that have the same names (docs/server.md) is said. */
export interface ServerOptions
  extends Partial<Omit<AppOptions, "models" | "data">>,
    Pick<ModelPlace, "engine" | "base" | "isOffline"> {
  /** Folders or hub ids; absent: koala-emoji. The first is used where a request names none. */
  readonly models?: readonly string[];
  /** Folder of jobs, pictures and settings, for this server alone. */
  readonly data: string;
}

const known: Readonly<Record<keyof ServerOptions, true>> = {
  ...{ models: true, data: true, engine: true, base: true, isOffline: true, precisions: true },
  ...{ host: true, names: true, url: true, tokens: true, origins: true, limits: true, nsfw: true },
  ...{ capacity: true, workers: true, threads: true, redis: true, runs: true, log: true },
};

/** Programs without types say what they like: a token under a wrong name would let everyone in. @throws KoalaError E_FLAG */
function checkKnown(options: object): void {
  const name = Object.keys(options).find((key) => !Object.hasOwn(known, key));
  if (name === undefined) return;
  const names = Object.keys(known);
  const [near] = nearest(name, names);
  throw new KoalaError("E_FLAG", {
    where: name,
    expected: "an option of openServer",
    got: "an unknown name",
    hint: near === undefined ? `The options are ${names.join(", ")}.` : `Did you mean ${near}?`,
  });
}

export interface KoalaServer {
  /** Answers a request to any of the server's paths. */
  fetch(request: Request): Promise<Response>;
  /** Puts the running jobs back into the queue; they are drawn when the folder is opened again. */
  close(): Promise<void>;
}

/**
 * Opens the models and the folder, and takes up what waited in it. It listens nowhere: hand requests to `fetch`. Where they come
 * from elsewhere than this machine, `host` says the address and `tokens` who may ask.
 * @example
 * const koala = await openServer({ data: "./koala-data" });
 * const answer = await koala.fetch(new Request("http://127.0.0.1/api/models"));
 * await koala.close();
 * @throws KoalaError as `koala serve`
 */
export async function openServer(options: ServerOptions): Promise<KoalaServer> {
  checkKnown(options);
  const { models, engine, base, isOffline, ...o } = options;
  const precision = o.precisions?.[0];
  const app = await openApp({
    ...usual,
    ...{ tokens: [], names: [], origins: [], log: pino({ level: "silent" }) },
    ...o,
    models: placesOf(models ?? [usualModel], {
      ...(engine === undefined ? {} : { engine }),
      ...(base === undefined ? {} : { base }),
      ...(isOffline === undefined ? {} : { isOffline }),
      ...(precision === undefined ? {} : { precision }),
    }),
  });
  app.resume();
  return {
    fetch: async (request) => app.fetch(request),
    async close() {
      await app.stop();
      app.release();
    },
  };
}
