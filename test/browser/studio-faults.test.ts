/** The studio in a real Chromium where something goes wrong besides: files, workers, another tab, another version of the site. */

import { cp, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildSite } from "../../scripts/site/build.js";
import { hasChromium, startChromium } from "./chromium.ts";
import { type Site, startSite } from "./site.ts";

/** What means something else in an address. */
const oddName = "mein Wörterbär #1? 50%";

let folder: string;
let site: Site;
let browser: Browser;
let context: BrowserContext;
let page: Page;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "koala-faults-"));
  const odd = join(folder, oddName);
  await cp(resolve(import.meta.dirname, "../../models/koala-emoji"), odd, { recursive: true });
  await buildSite(join(folder, "site"), [odd]);
  browser = await startChromium();
}, 300_000);

afterAll(async () => {
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
});

/** Keeps requests of the page waiting until what it gives is called. */
async function hold(files: string): Promise<() => void> {
  let letGo = (): void => {};
  const held = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  await page.route(files, async (route) => {
    await held;
    await route.continue();
  });
  return letGo;
}

/** A context of its own; without a service worker every request is one that a test can see. */
async function startContext(serviceWorkers: "allow" | "block"): Promise<void> {
  await context?.close();
  context = await browser.newContext({ serviceWorkers });
  context.setDefaultTimeout(90_000); // a machine that is busy besides
  page = await context.newPage();
}

beforeEach(async () => {
  site = await startSite(join(folder, "site"), {});
  await startContext("block");
});

afterEach(async () => {
  await context.close();
  await site.stop();
});

const ready = (on = page): Promise<void> => on.getByText("koala-emoji is ready").waitFor();
const press = (name: string, on = page): Promise<void> => on.getByRole("button", { name }).first().click();
const pictureDone = (on = page): Promise<void> => on.locator(".stage .frame img").waitFor();
const toView = (name: string): Promise<void> => page.getByRole("link", { name, exact: true }).click();

async function open(): Promise<void> {
  await page.goto(site.url);
  await ready();
  await page.getByLabel("Steps", { exact: true }).fill("1");
}

/** How often weights of each model were asked for. */
const fetched = (): number[] =>
  ["koala-emoji", oddName].map(
    (name) =>
      site.asked.filter(({ path }) => path.startsWith(`/models/${name}/`) && path.endsWith(".safetensors"))
        .length,
  );

/** The same site as if its sources had changed: page and worker have other names. */
async function nextVersion(from: string, to: string): Promise<void> {
  await cp(from, to, { recursive: true });
  const assets = await readdir(join(to, "assets"));
  const ours = assets.filter((name) => /^(index|worker)-.*\.js$/.test(name));
  const nextName = (name: string): string => name.replace(/-.*\./, "-next.");
  for (const name of ours) await rename(join(to, "assets", name), join(to, "assets", nextName(name)));
  for (const path of ["index.html", "sw.js", "assets/index-next.js"]) {
    let text = await readFile(join(to, path), "utf8");
    for (const name of ours) text = text.replaceAll(name, nextName(name));
    if (path === "sw.js") text = text.replace(/(?<=const name = `\$\{ours\})\w+/, "next");
    await writeFile(join(to, path), text);
  }
}

describe.skipIf(!hasChromium)("the studio", () => {
  test("fetches the one of two models again whose file the browser took away, and compares them", async () => {
    await open();
    await toView("Models");
    await press("Use");
    await page
      .getByText(/kept here/)
      .nth(1)
      .waitFor();
    await page.locator("label.model select").selectOption("./models/koala-emoji");
    await page.getByText("Use", { exact: true }).waitFor();
    expect(fetched()).toEqual([4, 4]);
    await page.evaluate(async (part) => {
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("koala");
      const all = root as unknown as { entries(): AsyncIterable<[string, FileSystemDirectoryHandle]> };
      for await (const [name, models] of all.entries())
        if (decodeURIComponent(name).endsWith(part))
          await models.removeEntry("unet%2Fdiffusion_pytorch_model.safetensors");
    }, encodeURIComponent(oddName));
    await toView("Compare");
    await page.getByLabel("Across").selectOption("model");
    expect(await page.getByLabel("Values, with commas").first().inputValue()).toBe(`koala-emoji, ${oddName}`);
    await press("Compare");
    await page.getByText("The browser has taken away what was stored: fetch the model again.").waitFor();
    await press("Fetch it again");
    await page.getByRole("button", { name: "Compare" }).and(page.locator(":enabled")).waitFor();
    expect(fetched()).toEqual([4, 8]);
    await press("Compare");
    await expect.poll(() => page.locator(".cell img").count(), { timeout: 120_000 }).toBe(2);
    await toView("Look inside");
    await page.getByLabel("Beside it").selectOption(oddName);
    await page.getByText(`${oddName}: 7.4 M parameters`).waitFor();
  });

  test("compares with a model that is to be fetched first, and says that and what it warns of", async () => {
    await open();
    const letGo = await hold("**/vae/*.safetensors");
    await page.getByLabel("Prompt", { exact: true }).fill("apple ".repeat(600));
    await toView("Compare");
    await page.getByLabel("Across").selectOption("model");
    await press("Compare");
    await page.getByText(/^Fetching the model, once: \d+ of \d+ MB/).waitFor();
    letGo();
    await expect.poll(() => page.locator(".cell img").count(), { timeout: 120_000 }).toBe(2);
    expect(await page.getByText(/^The prompt is longer than the \d+ tokens that/).count()).toBe(1);
  });

  test("waits for no tab that fetches the same model, and has it by a press once that one is done", async () => {
    const letGo = await hold("**/unet/*.safetensors");
    const first = page;
    const isAsked = first.waitForRequest("**/unet/*.safetensors");
    await first.goto(site.url);
    await isAsked;
    page = await context.newPage();
    await page.goto(site.url);
    await page.getByText("one that another tab is writing. Let that tab finish, or close it.").waitFor();
    letGo();
    await ready(first);
    await press("Try again");
    await ready();
    expect(fetched()).toEqual([4, 0]);
  });

  test("says that its worker did not start, and starts it by a press", async () => {
    await context.route("**/assets/worker-*.js", (route) => route.abort());
    await page.goto(site.url);
    await page.getByText("worker: expected an answer, got a script that did not load.").waitFor();
    await context.unroute("**/assets/worker-*.js");
    await press("Try again");
    await ready();
  });

  test("draws after its engine's WebAssembly could not be fetched once", async () => {
    await open();
    await context.route("**/*.wasm", (route) => route.abort());
    await press("Draw");
    await page.getByText("wasm: expected a model that it can load").waitFor();
    await context.unroute("**/*.wasm");
    await press("Draw");
    await pictureDone();
  });

  test("a new version of the site leaves an open page its files, and works without a network at once", async () => {
    const next = join(folder, "next");
    await nextVersion(join(folder, "site"), next);
    await startContext("allow");
    await open();
    /** Caches that are whole: the worker's script comes last. */
    const kept = (): Promise<number> =>
      page.evaluate(async () => {
        const all = await Promise.all(
          (await caches.keys()).map(async (name) => (await caches.open(name)).keys()),
        );
        return all.filter((cache) =>
          ["/assets/worker-", ".wasm"].every((part) => cache.some(({ url }) => url.includes(part))),
        ).length;
      });
    await expect.poll(kept, { timeout: 60_000 }).toBe(1);
    site.page = next;
    const old = page;
    page = await context.newPage();
    await page.goto(site.url);
    await ready();
    await expect.poll(kept, { timeout: 60_000 }).toBe(2);
    const isTaken = () =>
      page.evaluate(async () => {
        const { active, installing, waiting } = await navigator.serviceWorker.ready;
        return active?.state === "activated" && installing === null && waiting === null;
      });
    await expect.poll(isTaken, { timeout: 60_000 }).toBe(true);
    await old.getByText("More settings").click();
    await old.getByLabel("Precision", { exact: true }).selectOption("int8"); // for which a worker is started anew
    await press("Draw", old);
    await pictureDone(old);
    await old.close();
    await page.reload();
    await ready();
    await expect.poll(kept, { timeout: 60_000 }).toBe(1);
    site.isDown = true;
    await page.reload();
    await ready();
    await page.getByLabel("Steps", { exact: true }).fill("1");
    await press("Draw");
    await pictureDone();
  });
});
