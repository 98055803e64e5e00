/** The site's service worker by itself: which caches of a shared origin it takes away. */

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";

const source = readFileSync(resolve(import.meta.dirname, "../studio/sw.js"), "utf8")
  .replace("__KEPT__", "[]")
  .replace("__VERSION__", "2");

/** What is left of an origin's caches once the worker of `scope` is active. */
async function left(scope: string, caches: readonly string[]): Promise<string[]> {
  const kept = new Set(caches);
  const listeners = new Map<string, (event: { waitUntil(work: Promise<void>): void }) => void>();
  const worker = {
    registration: { scope },
    clients: { claim: async () => {} },
    addEventListener: (name: string, listener: () => void) => listeners.set(name, listener),
  };
  runInNewContext(source, {
    ...{ self: worker, URL },
    caches: { keys: async () => [...kept], delete: async (name: string) => kept.delete(name) },
  });
  let work = Promise.resolve();
  listeners.get("activate")?.({
    waitUntil: (promise) => {
      work = promise;
    },
  });
  await work;
  return [...kept];
}

it("takes away its own old caches, and no others of its origin", async () => {
  const others = ["mail-1", "koala-notes", "koala-/-1", "koala-/koala/-x/-1", "koala-/other/-1"];
  const own = ["koala-/koala/-1", "koala-/koala/-1.5", "koala-/koala/-2"];
  expect(await left("https://me.example/koala/", [...others, ...own])).toEqual([
    ...others,
    "koala-/koala/-2",
  ]);
  expect(await left("https://me.example/", ["koala-/-1", "koala-/koala/-1"])).toEqual(["koala-/koala/-1"]);
});
