/**
 * `bench browser`: what the browser costs over Node, what a preview costs, how soon the page can be used. koala-emoji, its own
 * steps, contenders in turn. Build the page first (`npm run site`); needs Debian's Chromium. The last line is JSON.
 */

import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { Pipeline } from "koala-diffusion";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("..", import.meta.url));
const [rounds = "3"] = process.argv.slice(2);
const site = join(root, "site");
if (!existsSync(join(site, "index.html"))) throw new Error("no page in site/: npm run site builds it");
const types = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
};

const server = createServer((request, response) => {
  const path = decodeURIComponent(new URL(request.url, "http://x").pathname);
  const file = join(site, normalize(path === "/" ? "index.html" : path));
  if (!existsSync(file) || !statSync(file).isFile()) return response.writeHead(404).end();
  response.writeHead(200, {
    "content-type":
      types[extname(file)] ?? (file.endsWith(".wasm") ? "application/wasm" : "application/octet-stream"),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
  });
  createReadStream(file).pipe(response);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${server.address().port}/`;
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });

/** Seconds until someone can type, in a browser that has never seen the page. */
async function interactive() {
  const context = await browser.newContext();
  const page = await context.newPage();
  const start = performance.now();
  await page.goto(url, { waitUntil: "commit" });
  await page.getByLabel("Prompt", { exact: true }).fill("a red apple");
  const seconds = (performance.now() - start) / 1000;
  await context.close();
  return seconds;
}

const context = await browser.newContext();
const page = await context.newPage();
await page.goto(url);
await page.getByText("koala-emoji is ready").waitFor({ timeout: 120_000 });

/** Seconds of a picture in the page, as the page says. */
async function inBrowser(seed) {
  await page.getByLabel("Seed", { exact: true }).fill(String(seed));
  await page.getByRole("button", { name: "Draw" }).first().click();
  const line = page.getByText(new RegExp(`seed ${seed} · \\d+ steps · [\\d.]+ s`));
  await line.waitFor({ timeout: 300_000 });
  return Number(/([\d.]+) s$/.exec((await line.textContent()) ?? "")?.[1]);
}

const pipeline = await Pipeline.load(join(root, "models/koala-emoji"), { engine: "ort", threads: 2 });
/** Seconds of a picture in Node, and of each preview beyond its step. */
async function inNode(seed, preview) {
  const start = performance.now();
  for await (const event of pipeline.generate({ prompt: "a red apple", seed, preview })) void event;
  return (performance.now() - start) / 1000;
}

try {
  const { steps } = pipeline.defaults;
  await inNode(0, false);
  await inBrowser(0);
  const found = { steps, interactive: [], node: [], nodePreviews: [], browser: [] };
  for (let seed = 1; seed <= Number(rounds); seed++) {
    found.interactive.push(await interactive());
    found.node.push(await inNode(seed, false));
    found.nodePreviews.push(await inNode(seed, true));
    found.browser.push(await inBrowser(seed));
  }
  process.stdout.write(`${JSON.stringify(found)}\n`);
} finally {
  await pipeline.dispose();
  await browser.close();
  server.close();
}
