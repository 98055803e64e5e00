// The site's service worker: keeps the page and its engine for the time without a network, and adds the headers of a
// cross-origin isolated page where the host sends none, since WebAssembly has threads only there.

// an origin's caches are shared by all of its pages: other sites of ours there, and what is not ours at all
const ours = `koala-${new URL(self.registration.scope).pathname}-`;
const name = `${ours}__VERSION__`;
const isOld = (other) => other !== name && other.startsWith(ours) && !other.slice(ours.length).includes("/"); // not of a folder called -…
/** Paths beside this file. */
const kept = __KEPT__;

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter(isOld).map((other) => caches.delete(other))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("message", (event) => {
  if (event.data === "keep") event.waitUntil(keepAll());
});

async function keepAll() {
  const cache = await caches.open(name);
  for (const path of kept) {
    const url = new URL(path, self.registration.scope).href;
    if ((await cache.match(url)) === undefined) await cache.add(url).catch(() => {});
  }
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
  const cache = await caches.open(name);
  const key = isPage ? self.registration.scope : url.origin + url.pathname;
  const known = await cache.match(key);
  if (known !== undefined && url.pathname.includes("/assets/")) return isolated(known);
  try {
    const fresh = await fetch(request);
    const isOurs = isPage || url.pathname.includes("/assets/") || url.pathname.endsWith("/site.json");
    if (fresh.ok && fresh.status === 200 && isOurs) await cache.put(key, fresh.clone());
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
