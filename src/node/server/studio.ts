/**
 * The studio's files, listed once at the start: a path from a request is looked up in that list and never reaches the
 * file system. Without a built studio, a small page says so.
 */

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { extname, join } from "node:path";

export interface Page {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly type: string;
  /** The Cache-Control header. */
  readonly caching: string;
}

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".webmanifest": "application/manifest+json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".wasm": "application/wasm",
  ".woff2": "font/woff2",
};

const absent = `<!doctype html><html lang="en"><meta charset="utf-8"><title>koala</title>
<style>body{font:16px/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}</style>
<h1>The server runs; its page is not built</h1>
<p>The studio is built with <code>npm run studio</code>. The API works without it:</p>
<ul><li><a href="/openapi.json">/openapi.json</a> describes it</li><li><a href="/healthz">/healthz</a> says whether it lives</li></ul></html>`;

const page = (bytes: Uint8Array, type: string, isHashed: boolean): Page => ({
  bytes: new Uint8Array(bytes),
  type,
  caching: isHashed ? "public, max-age=31536000, immutable" : "no-cache",
});

/** Whether vite has built it there. */
export const isBuilt = (folder: string): boolean => existsSync(join(folder, "index.html"));

/** The pages of a folder that vite built, by the path of a URL. */
export function openStudio(folder: string): (path: string) => Page | null {
  const files = new Map<string, string>();
  if (isBuilt(folder))
    for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }))
      if (statSync(join(folder, name)).isFile())
        files.set(`/${name.replaceAll("\\", "/")}`, join(folder, name));
  return (path) => {
    const wanted = path === "/" ? "/index.html" : path;
    const file = files.get(wanted);
    if (file !== undefined && existsSync(file))
      return page(
        readFileSync(file),
        types[extname(file)] ?? "application/octet-stream",
        wanted.startsWith("/assets/"), // vite names these by their content
      );
    return path === "/" ? page(Buffer.from(absent), "text/html; charset=utf-8", false) : null;
  };
}
