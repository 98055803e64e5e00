// The site's service worker: keeps the page and its engine for the time without a network, and adds the headers of a
// cross-origin isolated page where the host sends none, since WebAssembly has threads only there.

// an origin's caches are shared by all of its pages: other sites of ours there, and what is not ours at all
const ours = `koala-${new URL(self.registration.scope).pathname}-`;
const name = `${ours}__VERSION__`;
const isOld = (other) => other !== name && other.startsWith(ours) && !other.slice(ours.length).includes("/"); // not of a folder called -…
/** Paths beside this file. */
const kept = __KEPT__;
const addressOf = (path) => new URL(path, self.registration.scope).href;

/** Those of this site's versions before this one, the last of them at the end. */
const oldCaches = async () => (await caches.keys()).filter(isOld);

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));

/** What works without a network still does after a new version: while it is fetched the one before answers. */
async function install() {
  if ((await oldCaches()).length > 0) await keepAll();
  await self.skipWaiting();
}

/** An open page of the version before still asks for its files, as the script of each worker that it starts: `keep` takes them away. */
async function activate() {
  const old = await oldCaches();
  await Promise.all(old.slice(0, -1).map((other) => caches.delete(other)));
  await self.clients.claim();
}

// a page says which script it runs: the browser may have opened one of another version
self.addEventListener("message", (event) => {
  if (kept.some((path) => addressOf(path) === event.data?.keep)) event.waitUntil(keep(event.source));
});

/** For a page of this version; where no other is open, and no newer version is on its way, nobody needs the old ones. */
async function keep(page) {
  const isWhole = await keepAll();
  const { installing, waiting } = self.registration;
  const pages = await self.clients.matchAll({ type: "window" });
  if (isWhole && installing === null && waiting === null && pages.every(({ id }) => id === page.id))
    await Promise.all((await oldCaches()).map((other) => caches.delete(other)));
}

/** Whether all is here then. */
async function keepAll() {
  const cache = await caches.open(name);
  let isWhole = true;
  for (const url of kept.map(addressOf))
    if ((await cache.match(url)) === undefined)
      await cache.add(url).catch(() => {
        isWhole = false;
      });
  return isWhole;
}

/** From this version's cache, else from that of the one before. */
async function found(key) {
  const own = await caches.match(key, { cacheName: name });
  const last = own === undefined ? (await oldCaches()).at(-1) : undefined;
  return last === undefined ? own : caches.match(key, { cacheName: last });
}

function isolated(answer) {
  if (answer.status === 0) return answer;
  const headers = new Headers(answer.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}

/** Files named by their content are taken from the cache; the page and its lists from the network, where there is one. */
async function answer(request) {
  const url = new URL(request.url);
  const isPage = request.mode === "navigate";
  const key = isPage ? self.registration.scope : url.origin + url.pathname;
  const known = await found(key);
  if (known !== undefined && url.pathname.includes("/assets/")) return isolated(known);
  try {
    const fresh = await fetch(request);
    const isOurs = isPage || url.pathname.includes("/assets/") || url.pathname.endsWith("/site.json");
    if (fresh.ok && fresh.status === 200 && isOurs) await (await caches.open(name)).put(key, fresh.clone());
    return isolated(fresh);
  } catch (error) {
    if (known !== undefined) return isolated(known);
    throw error;
  }
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  // models have a storage of their own
  const isOurs = new URL(request.url).origin === self.location.origin && !request.url.includes("/models/");
  if (request.method === "GET" && isOurs) event.respondWith(answer(request));
});
