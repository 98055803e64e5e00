/** The site's service worker by itself: what it keeps when a new version comes, and which caches of a shared origin it takes away. */

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";

const source = readFileSync(resolve(import.meta.dirname, "../studio/sw.js"), "utf8")
  .replace("__KEPT__", JSON.stringify(["./", "assets/index-2.js"]))
  .replace("__VERSION__", "2");

const site = "https://me.example/koala/";
const ownScript = `${site}assets/index-2.js`;
const own = "koala-/koala/-2";
const old = "koala-/koala/-1";

interface FakeEvent {
  readonly data?: unknown;
  readonly source?: { readonly id: string };
  readonly request?: { readonly url: string; readonly method: string; readonly mode: string };
}

interface World {
  /** Addresses by cache, in the order in which they were made. */
  readonly caches: Map<string, Set<string>>;
  /** What the site has. */
  readonly there: Set<string>;
  /** Ids of open pages. */
  pages: string[];
  /** A newer version on its way. */
  installing: object | null;
  /** What the browser was asked, with the caches of that moment. */
  readonly asked: [string, string[]][];
  /** Sends an event and waits for what it extends; the answer is that of a `fetch`. */
  send(name: string, event?: FakeEvent): Promise<Response | undefined>;
}

function start(names: readonly string[], scope = site): World {
  const stored = new Map(names.map((name) => [name, new Set<string>()]));
  const named = (name: string): Set<string> => stored.get(name) ?? new Set();
  const answered = (name: string, url: string) => (named(name).has(url) ? new Response(name) : undefined);
  const listeners = new Map<string, (event: object) => void>();
  const tell = (what: string) => async (): Promise<void> => {
    world.asked.push([what, [...stored.keys()]]);
  };
  const world: World = {
    ...{ caches: stored, pages: ["own"], installing: null, asked: [] },
    there: new Set([scope, ownScript]),
    async send(name, event = {}) {
      const work: Promise<unknown>[] = [];
      let answer: Promise<Response> | undefined;
      listeners.get(name)?.({
        ...event,
        waitUntil: (promise: Promise<unknown>) => work.push(promise),
        respondWith: (promise: Promise<Response>) => {
          answer = promise;
        },
      });
      await Promise.all(work);
      return answer;
    },
  };
  const open = async (name: string) => {
    if (!stored.has(name)) stored.set(name, new Set());
    return {
      match: async (url: string) => answered(name, url),
      async add(url: string) {
        if (!world.there.has(url)) throw new TypeError("not there");
        named(name).add(url);
      },
      put: async (url: string) => void named(name).add(url),
    };
  };
  runInNewContext(source, {
    ...{ URL, Headers, Response },
    fetch: async ({ url }: { url: string }) =>
      world.there.has(url) ? new Response("network") : new Response(null, { status: 404 }),
    caches: {
      open,
      keys: async () => [...stored.keys()],
      delete: async (name: string) => stored.delete(name),
      match: async (url: string, { cacheName }: { cacheName: string }) => answered(cacheName, url),
    },
    self: {
      location: new URL("sw.js", scope),
      registration: {
        ...{ scope, waiting: null },
        get installing() {
          return world.installing;
        },
      },
      clients: { claim: tell("claim"), matchAll: async () => world.pages.map((id) => ({ id })) },
      skipWaiting: tell("skipWaiting"),
      addEventListener: (name: string, listener: () => void) => listeners.set(name, listener),
    },
  });
  return world;
}

const opened = { data: { keep: ownScript }, source: { id: "own" } };

it("takes away its own old caches but the last, and no others of its origin", async () => {
  const others = ["mail-1", "koala-notes", "koala-/-1", "koala-/koala/-x/-1", "koala-/other/-1"];
  const world = start([...others, "koala-/koala/-0", "koala-/koala/-0.5", old, own]);
  await world.send("activate");
  expect([...world.caches.keys()]).toEqual([...others, old, own]);
  const top = start(["koala-/-1", "koala-/koala/-1", "koala-/-1.5"], "https://me.example/");
  await top.send("activate");
  expect([...top.caches.keys()]).toEqual(["koala-/koala/-1", "koala-/-1.5"]);
});

it("fetches all that an old version had kept before it takes its place, and nothing on the first visit", async () => {
  const world = start([old]);
  await world.send("install");
  expect([...(world.caches.get(own) ?? [])]).toEqual([site, ownScript]);
  expect(world.asked).toEqual([["skipWaiting", [old, own]]]);
  const first = start(["mail-1"]);
  await first.send("install");
  expect(first.asked).toEqual([["skipWaiting", ["mail-1"]]]);
});

it("gives an open page of the version before that one's files, and its own ones first", async () => {
  const world = start([old, own]);
  const worker = `${site}assets/worker-1.js`;
  world.caches.get(old)?.add(worker).add(ownScript);
  world.caches.get(own)?.add(ownScript);
  const textOf = async (url: string): Promise<string | undefined> =>
    (await world.send("fetch", { request: { url, method: "GET", mode: "cors" } }))?.text();
  expect(await textOf(worker)).toBe(old);
  expect(await textOf(ownScript)).toBe(own);
});

it("takes the last old cache away when a page of its own is the only one, and all is here", async () => {
  const world = start([old, own]);
  const left = (): string[] => [...world.caches.keys()];
  world.pages = ["own", "of before"];
  await world.send("message", opened);
  expect(left()).toEqual([old, own]);
  world.pages = ["own"];
  await world.send("message", { ...opened, data: { keep: `${site}assets/index-1.js` } });
  expect(left()).toEqual([old, own]);
  world.installing = {};
  await world.send("message", opened);
  expect(left()).toEqual([old, own]);
  world.installing = null;
  await world.send("message", opened);
  expect(left()).toEqual([own]);

  const offline = start([old, own]);
  offline.there.clear();
  await offline.send("message", opened);
  expect([...offline.caches.keys()]).toEqual([old, own]);
});
