/** A static site on the loopback for browser tests: cross-origin isolated, byte ranges, and faults on demand. */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { listModel } from "../../scripts/site/list-model.js";

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".png": "image/png",
};

export interface Site {
  readonly url: string;
  /** What was asked for, with its byte range. */
  readonly asked: { readonly path: string; readonly range: string | undefined }[];
  /** The folder at `/`: another one is another version of the site. */
  page: string;
  /** After so many bytes of a file of this name the connection breaks, once. */
  breakOnce: { name: string; after: number } | null;
  /** Answers nothing any more. */
  isDown: boolean;
  stop(): Promise<void>;
}

/** Serves `page` at `/` and each model folder under `/models/NAME`. */
export async function startSite(page: string, models: Readonly<Record<string, string>>): Promise<Site> {
  const lists = new Map(
    await Promise.all(
      Object.entries(models).map(
        async ([name, folder]) => [name, JSON.stringify(await listModel(folder))] as const,
      ),
    ),
  );
  const site: Omit<Site, "url" | "stop"> = { asked: [], page, breakOnce: null, isDown: false };

  async function answer(path: string, range: string | undefined, response: ServerResponse): Promise<void> {
    response.setHeader("cross-origin-opener-policy", "same-origin");
    response.setHeader("cross-origin-embedder-policy", "require-corp");
    const [, name = "", rest = ""] = /^\/models\/([^/]+)\/(.+)$/.exec(path) ?? [];
    if (rest === "koala-files.json" && lists.has(name)) {
      response.setHeader("content-type", "application/json");
      response.end(lists.get(name));
      return;
    }
    const root = models[name] ?? site.page;
    const file = join(
      root,
      normalize(models[name] === undefined ? (path === "/" ? "index.html" : path) : rest),
    );
    const facts = await stat(file).catch(() => null);
    if (facts === null || !facts.isFile()) {
      response.writeHead(404).end();
      return;
    }
    const start = Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
    response.setHeader("content-type", types[extname(file)] ?? "application/octet-stream");
    response.setHeader("content-length", facts.size - start);
    if (start > 0) response.setHeader("content-range", `bytes ${start}-${facts.size - 1}/${facts.size}`);
    response.writeHead(start > 0 ? 206 : 200);
    const broken = site.breakOnce?.name === rest ? site.breakOnce : null;
    if (broken === null) {
      createReadStream(file, { start }).pipe(response);
      return;
    }
    site.breakOnce = null;
    for await (const piece of createReadStream(file, { start, end: start + broken.after - 1 }))
      await new Promise((resolve) => response.write(piece, resolve));
    setTimeout(() => response.destroy(), 100); // what was written has then left
  }

  const server: Server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://x").pathname);
    if (site.isDown) {
      response.destroy();
      return;
    }
    site.asked.push({ path, range: request.headers.range });
    void answer(path, request.headers.range, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return Object.assign(site, {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}
