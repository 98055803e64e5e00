/** What `sw.js` beside the page does for it: headers that threads need where the host sends none, and a life without network. */

const hasWorker = "serviceWorker" in navigator;

/**
 * Loads the page once more under the service worker, where the host did not isolate it: only then has WebAssembly threads.
 * True when the page is about to go.
 */
export async function isolate(): Promise<boolean> {
  if (!hasWorker || globalThis.crossOriginIsolated) return false;
  try {
    if (sessionStorage.getItem("koala-isolated") !== null) return false;
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    sessionStorage.setItem("koala-isolated", "tried");
    location.reload();
    return true;
  } catch {
    return false; // private windows of some browsers refuse: one thread then
  }
}

/** Keeps the page and its engine for the time without a network. */
export async function keepOffline(): Promise<void> {
  if (!hasWorker) return;
  const { serviceWorker } = navigator;
  let told: ServiceWorker | null = null;
  const tell = (worker: ServiceWorker | null): void => {
    if (worker === null || worker === told) return;
    told = worker;
    worker.postMessage({ keep: import.meta.url }); // this script, by which the page's version is known
  };
  try {
    serviceWorker.addEventListener("controllerchange", () => tell(serviceWorker.controller));
    await serviceWorker.register("sw.js");
    tell((await serviceWorker.ready).active);
  } catch {
    // refused: the page works, with a network
  }
}
