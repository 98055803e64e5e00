/**
 * Requests to a hub that survive a bad network: retries with growing waits, and a limit on silence.
 * Every way to fail is a sentence that says what to do.
 */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";

export interface Timing {
  /** Tries of one request; a download's count begins anew whenever bytes have come. */
  readonly attempts: number;
  /** Wait before the second try; it doubles with each, less up to half of it by chance. */
  readonly firstWaitMs: number;
  /** No wait is longer, not even one that the hub asks for: then it is an error. */
  readonly maxWaitMs: number;
  /** A connection that says nothing for so long is given up. */
  readonly idleMs: number;
}

export const defaultTiming: Timing = { attempts: 6, firstWaitMs: 500, maxWaitMs: 60_000, idleMs: 30_000 };

export interface Connection {
  readonly endpoint: string;
  readonly token: string | null;
  readonly timing: Timing;
  readonly signal: AbortSignal | undefined;
  /** What requests are made with, such as one that goes through a proxy; absent: the platform's own. */
  readonly fetch?: typeof fetch;
}

/** Longest answer of the hub's interface that is read: 1,000 files are listed in about 0.4 MB. */
const maxAnswerBytes = 16_000_000;

/** A failure that may pass; `got` and `hint` become the error when it does not. */
export class Passing extends Error {
  readonly got: string;
  readonly hint: string;
  /** How long the hub asks to wait. */
  readonly waitMs: number | null;
  readonly hasProgressed: boolean;
  /** Of the answer, where there was one. */
  readonly status: number | null;

  constructor(
    got: string,
    hint: string,
    o: { waitMs?: number | null; hasProgressed?: boolean; status?: number; cause?: unknown } = {},
  ) {
    super(got, { cause: o.cause });
    this.got = got;
    this.hint = hint;
    this.waitMs = o.waitMs ?? null;
    this.hasProgressed = o.hasProgressed ?? false;
    this.status = o.status ?? null;
  }
}

export const networkHint =
  "Check the network and try again: what has been fetched is kept. With --offline only the cache is used.";

/** Repeats `attempt` while it fails in a passing way. @throws KoalaError E_HUB */
export async function withRetries<T>(
  attempt: () => Promise<T>,
  expected: string,
  where: string,
  c: Connection,
): Promise<T> {
  const { attempts, firstWaitMs, maxWaitMs } = c.timing;
  for (let tries = 1; ; tries++) {
    c.signal?.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Passing)) throw error;
      if (error.hasProgressed) tries = 1;
      const isTooLong = (error.waitMs ?? 0) > maxWaitMs;
      if (tries >= attempts || isTooLong) {
        const times = tries > 1 ? `, ${tries} times` : "";
        const wait = isTooLong ? `, to be asked again in ${Math.round((error.waitMs ?? 0) / 1000)} s` : "";
        const { got, hint } = error;
        throw new KoalaError("E_HUB", {
          where,
          expected,
          got: `${got}${times}${wait}`,
          hint,
          cause: error.cause,
        });
      }
      const backOff = firstWaitMs * 2 ** (tries - 1) * (1 - Math.random() / 2);
      await sleep(error.waitMs ?? Math.min(backOff, maxWaitMs), c.signal);
    }
  }
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** A time limit on silence: `touch` starts it anew. `explain` says what an error of the connection was. */
export class IdleLimit {
  readonly signal: AbortSignal;
  private readonly controller = new AbortController();
  private readonly connection: Connection;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(connection: Connection) {
    this.connection = connection;
    const { signal } = connection;
    this.signal =
      signal === undefined ? this.controller.signal : AbortSignal.any([signal, this.controller.signal]);
    this.touch();
  }

  touch(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.controller.abort(), this.connection.timing.idleMs);
  }

  end(): void {
    clearTimeout(this.timer);
  }

  /** What to throw in place of `error`. */
  explain(error: unknown, hasProgressed: boolean): unknown {
    if (error instanceof KoalaError || error instanceof Passing) return error;
    if (this.connection.signal?.aborted === true) return this.connection.signal.reason;
    const o = { hasProgressed, cause: error };
    if (this.controller.signal.aborted) {
      return new Passing(`silence for ${this.connection.timing.idleMs / 1000} s`, networkHint, o);
    }
    return new Passing(`a broken connection (${systemReason(error)})`, networkHint, o);
  }
}

/** The innermost reason of a failed fetch: `ECONNREFUSED`, `ENOTFOUND`, or its message. */
function systemReason(error: unknown): string {
  let inner: unknown = error;
  while (inner instanceof Error && inner.cause !== undefined) inner = inner.cause;
  if (inner instanceof Error && "code" in inner && typeof inner.code === "string") return inner.code;
  return inner instanceof Error ? inner.message : String(inner);
}

/** Seconds or a date → milliseconds from now; null where the header is missing or means nothing. */
function retryAfter(response: Response): number | null {
  const header = response.headers.get("retry-after");
  if (header === null) return null;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : null;
}

/**
 * One request, its status judged. The caller reads the body within the same limit.
 * @throws Passing, KoalaError E_HUB
 */
export async function request(
  url: string,
  init: RequestInit,
  where: string,
  c: Connection,
  limit: IdleLimit,
): Promise<Response> {
  const headers = new Headers(init.headers);
  // the token is for the hub alone, never for the servers that it sends us to
  if (c.token !== null && new URL(url).origin === new URL(c.endpoint).origin) {
    headers.set("authorization", `Bearer ${c.token}`);
  }
  const response = await (c.fetch ?? fetch)(url, { ...init, headers, signal: limit.signal });
  limit.touch();
  if (!response.ok) {
    await response.body?.cancel();
    throw statusError(response, where, c);
  }
  if (/^text\/html\b/i.test(response.headers.get("content-type") ?? "")) {
    await response.body?.cancel();
    throw new KoalaError("E_HUB", {
      where,
      expected: `an answer of ${c.endpoint}`,
      got: "a web page",
      hint: "Something answers in the hub's place, such as the login page of a network, or HF_ENDPOINT names no hub.",
    });
  }
  return response;
}

function statusError(response: Response, where: string, c: Connection): KoalaError | Passing {
  const { status } = response;
  const got = `${status} ${response.statusText || (statusNames[status] ?? "")}`.trim();
  if (status === 429) {
    const hint = `Wait some minutes${c.token === null ? ", or set HF_TOKEN: who signs in may ask more often" : ""}.`;
    return new Passing(got, hint, { waitMs: retryAfter(response) });
  }
  if (status === 416) return new Passing(got, networkHint, { status });
  if (status === 408 || status >= 500) {
    const hint = "The hub has trouble: try again later. What has been fetched is kept.";
    return new Passing(got, hint, { waitMs: retryAfter(response) });
  }
  const fail = (expected: string, hint?: string): KoalaError =>
    new KoalaError("E_HUB", { where, expected, got, ...(hint === undefined ? {} : { hint }) });
  if (status === 401) {
    return fail(
      `something that ${c.endpoint} lets you read`,
      c.token === null
        ? "Check the name. A private or gated model needs a token: set HF_TOKEN."
        : "Check the name, and whether the token of HF_TOKEN still holds and may read it.",
    );
  }
  if (status === 403) {
    return fail(
      `something that ${c.endpoint} lets you read`,
      "Accept the model's terms on its page with the account that HF_TOKEN is of, or ask its owner.",
    );
  }
  if (status === 404)
    return fail(`something that ${c.endpoint} has`, "Check the name, the revision and the file.");
  return fail(`an answer of ${c.endpoint}`);
}

/** The body as it comes in; by its reader, since not every browser lets a stream be looped over. */
export async function* piecesOf(response: Response): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value as Uint8Array<ArrayBuffer>;
    }
  } finally {
    await reader.cancel().catch(() => {}); // nothing to do where it has ended
  }
}

/** For servers that send no words with their status (HTTP/2 has none). */
const statusNames: Readonly<Record<number, string>> = {
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

/**
 * A whole small answer, as `fetch` would give it.
 * @throws KoalaError E_HUB
 */
export function fetchAnswer(url: string, init: RequestInit, where: string, c: Connection): Promise<Response> {
  return withRetries(
    async () => {
      const limit = new IdleLimit(c);
      try {
        const response = await request(url, init, where, c, limit);
        const pieces: Uint8Array<ArrayBuffer>[] = [];
        let bytes = 0;
        for await (const piece of piecesOf(response)) {
          limit.touch();
          pieces.push(piece);
          bytes += piece.length;
          check(bytes <= maxAnswerBytes, "E_HUB", () => ({
            where,
            expected: `an answer of at most ${maxAnswerBytes} bytes`,
            got: "more",
          }));
        }
        return new Response(new Blob(pieces), { status: response.status, headers: response.headers });
      } catch (error) {
        throw limit.explain(error, false);
      } finally {
        limit.end();
      }
    },
    `an answer of ${c.endpoint}`,
    where,
    c,
  );
}
