/** Malformed requests at every door of a server without an engine: whatever comes, it is the client's fault. */

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect } from "vitest";
import { routes } from "../src/node/server/openapi.ts";
import { requestFields } from "../src/pipeline/request.ts";
import type { Scene } from "./server-scene.ts";

const names = [
  ...requestFields().map(({ key }) => key),
  ...[
    "model",
    "n",
    "size",
    "response_format",
    "cfg_scale",
    "sampler_name",
    "batch_size",
    "override_settings",
  ],
  ...[
    "image",
    "alwayson_scripts",
    "isFavourite",
    "sd_model_checkpoint",
    "__proto__",
    "constructor",
    "toString",
  ],
];
const nasty = fc.constantFrom<unknown>(
  ...[
    "../../../etc/passwd",
    "\0",
    "%00",
    "..\\..",
    "🐨".repeat(50),
    "NaN",
    "1e999",
    "' or 1=1; drop table jobs;--",
  ],
  ...[-1, 0, 1e308, 2 ** 53, 0.1, null, true, [], {}, { toString: 1 }, [[[[]]]], "x".repeat(20_000)],
);
const value = fc.oneof(nasty, fc.jsonValue(), fc.integer(), fc.string());
const object = fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string()), value, { maxKeys: 6 });
const withPrompt = fc.tuple(object, fc.string()).map(([fields, prompt]) => ({ ...fields, prompt }));
const body = fc.oneof(
  withPrompt.map((v) => JSON.stringify(v)),
  object.map((v) => JSON.stringify(v)),
  fc.string(),
  fc.uint8Array({ maxLength: 200 }),
);
const segment = fc.oneof(
  fc.string().map(encodeURIComponent),
  fc.constantFrom(
    "..%2F..%2Fkoala.db",
    "%2e%2e",
    "koala.db",
    "%00",
    "-1",
    "0.png",
    "%F0%9F",
    "a".repeat(3000),
  ),
);
/** Mostly a route's own method and real paths: what is refused before it reaches a door tests only the wall. */
const target = fc
  .tuple(fc.constantFrom(...routes), fc.array(segment, { maxLength: 3 }), segment, fc.nat(9))
  .map(([{ method, path }, parts, query, chance]) => {
    let i = 0;
    const filled = path.replace(/\{\w+\}/g, () => parts[i++] ?? "x");
    return {
      method: chance === 0 ? "PUT" : method.toUpperCase(),
      path: chance === 1 ? `/${query}` : `${filled}${chance < 5 ? `?limit=${query}&state=${query}` : ""}`,
    };
  });
/** The doors that draw get half of all requests. */
const drawing = fc
  .constantFrom("/api/jobs", "/v1/images/generations", "/sdapi/v1/txt2img", "/sdapi/v1/options")
  .map((path) => ({ method: "POST", path }));

const noise = fc.dictionary(
  fc.constantFrom("authorization", "last-event-id", "content-type", "cookie", "content-length"),
  fc.stringMatching(/^[\x21-\x7e]{0,40}$/),
  { maxKeys: 2 },
);
const foreign = fc.dictionary(fc.constantFrom("host", "origin"), fc.stringMatching(/^[\x21-\x7e]{0,40}$/));

export const request = fc
  .record({
    target: fc.oneof(target, drawing),
    body,
    headers: fc.oneof({ weight: 9, arbitrary: noise }, { weight: 1, arbitrary: foreign }),
  })
  .map(({ target: { method, path }, ...rest }) => ({ method, path, ...rest }));

/** Files under a folder, those in its `data` left out: that is where the server may write. */
const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => !name.startsWith("data") && statSync(join(folder, name)).isFile())
    .sort();

/** Sends `runs` requests. @throws what fast-check says of the smallest that was answered wrongly */
export async function fuzz(scene: Scene, runs: number, around: string): Promise<void> {
  const before = filesIn(around);
  await fc.assert(
    fc.asyncProperty(request, async ({ method, path: where, body: sent, headers }) => {
      const response = await scene.ask(method, where, method === "GET" ? undefined : sent, headers);
      expect(response.status).toBeLessThan(500);
      if (response.status >= 400 && response.status !== 404)
        expect(Object.keys(((await response.json()) as { error: object }).error)).toEqual(
          expect.arrayContaining(["code", "field", "expected", "found", "message"]),
        );
      else await response.body?.cancel();
    }),
    { numRuns: runs, endOnFailure: true },
  );
  expect(filesIn(around)).toEqual(before);
}
