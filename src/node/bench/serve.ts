/** `koala bench serve`: what a server costs over the library, and what it does under many clients. */

import { quantile } from "../../eval/chance.ts";
import { usualModelName } from "../cli/package.ts";
import { type Bench, ownProgram } from "./bench.ts";
import type { Table } from "./report.ts";
import { spreadText } from "./report.ts";
import { ratioOf, type Spread, spreadOf } from "./statistics.ts";
import { subjectOf } from "./subject.ts";

/** Ten turns give a ratio to a hundredth; two hundred clients for a minute are more than any queue here holds. */
const usual = { rounds: 10, seconds: 60, clients: 200 };

/** In seconds: what half of the requests, and all but one in twenty, wait at most. */
export interface Latency {
  readonly p50: number;
  readonly p95: number;
}

export interface Served {
  readonly library: Spread | null;
  readonly server: Spread | null;
  readonly ratio: Spread | null;
  /** Of the answers with a picture, from the request to its end. */
  readonly answer: Spread | null;
  /** Percentiles of the same; a refusal takes no time and would make them look good. */
  readonly latency: Latency | null;
  readonly picturesPerMinute: number;
  /** How many answers of each HTTP status. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Of the server, in bytes, before and after. */
  readonly resident: readonly [before: number, after: number];
}

/** What the program answers: seconds of each picture by the library and by the server, then of each request under load. */
export interface Said {
  readonly library: readonly number[];
  readonly server: readonly number[];
  readonly load: {
    readonly times: readonly number[];
    readonly statuses: Readonly<Record<string, number>>;
    readonly picturesPerMinute: number;
    readonly before: number;
    readonly after: number;
  };
}

export async function measureServer(b: Bench): Promise<Served> {
  const { folder, defaults } = await subjectOf(b.o.models[0] ?? usualModelName, b);
  const asked = { model: folder, size: b.o.sizes?.[0] ?? defaults.width, threads: b.o.threads, ...usual };
  const rounds = b.o.rounds ?? usual.rounds;
  b.stage(`${rounds} turns of library and server, then ${usual.clients} clients for ${usual.seconds} s`);
  const { said } = await b.run(ownProgram("serve", { ...asked, rounds, koala: `${b.root}/bin/koala.js` }));
  return servedOf(said as unknown as Said);
}

/** `seconds` has one number a request. Null where there is nothing to say it of. */
export function latencyOf(seconds: readonly number[]): Latency | null {
  return seconds.length === 0 ? null : { p50: quantile(seconds, 0.5), p95: quantile(seconds, 0.95) };
}

export function servedOf({ library, server, load }: Said): Served {
  const turns = (values: readonly number[]) => values.map((value) => [value]);
  return {
    ...{
      library: spreadOf(library),
      server: spreadOf(server),
      ratio: ratioOf(turns(server), turns(library)),
    },
    ...{ answer: spreadOf(load.times), latency: latencyOf(load.times) },
    ...{ picturesPerMinute: load.picturesPerMinute, statuses: load.statuses },
    resident: [load.before, load.after],
  };
}

export function serveTable(served: Served): Table {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;
  const seconds = (value: number | undefined): string => value?.toFixed(1) ?? "-";
  const answers = Object.entries(served.statuses).map(([status, count]) => `${count} of ${status}`);
  return {
    title: `A server beside the library, then ${usual.clients} clients for ${usual.seconds} s`,
    rows: [
      ["", ""],
      ["a picture by the library, s", spreadText(served.library, 2)],
      ["the same by the server, s", spreadText(served.server, 2)],
      ["server over library", spreadText(served.ratio, 3)],
      ["under load: an answer, s", spreadText(served.answer, 1)],
      ["under load: latency p50, s", seconds(served.latency?.p50)],
      ["under load: latency p95, s", seconds(served.latency?.p95)],
      ["pictures a minute, 64 px, 4 steps", served.picturesPerMinute.toFixed(0)],
      ["answers", answers.join(", ")],
      ["the server's memory, before and after", served.resident.map(megabytes).join(", ")],
    ],
  };
}
