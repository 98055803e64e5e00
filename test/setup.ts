/** A test that logs, or reaches out to the network, fails. */

import { afterEach, beforeEach, expect, vi } from "vitest";

const methods = ["log", "info", "warn", "error", "debug"] as const;

beforeEach(() => {
  for (const method of methods) vi.spyOn(console, method);
  const realFetch = globalThis.fetch;
  vi.stubGlobal("fetch", (input: string | URL | Request, init?: RequestInit) => {
    const url = new URL(input instanceof Request ? input.url : input);
    if (!["127.0.0.1", "localhost", "[::1]"].includes(url.hostname)) throw new Error(`a test fetched ${url}`);
    return realFetch(input, init);
  });
});

afterEach(() => {
  for (const method of methods) expect(console[method], `console.${method} in a test`).not.toHaveBeenCalled();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});
