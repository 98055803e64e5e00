/**
 * Blobs on their way into the cache: the bytes that downloads have collected so far, beside the whole blobs, under names
 * of our own. `HASH.incomplete` is huggingface_hub's, which appends to it under a lock of its own (`file_download.py`):
 * it is never touched. The name of a file says whose it is; taking one over is a rename, which only one process can do.
 */

import { readlinkSync } from "node:fs";
import { mkdir, readdir, rename, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { isRunning } from "./files.ts";

/**
 * A file of another machine that has not changed for so long is nobody's. One that downloads writes sooner: it is silent for
 * 30 s at most, waits for 60 s at most, and gives up after six tries (`defaultTiming`), after 9 minutes; the rest is for clocks
 * of file servers that go wrong.
 */
export const abandonedMs = 3_600_000;

/**
 * This machine, as far as its process numbers reach, as a part of a file's name. A container may have its host's name, but
 * its processes have numbers of their own: Linux calls that a namespace and gives it a number.
 */
export function machine(): string {
  const name = hostname()
    .replace(/[^\w.-]/g, "_")
    .slice(0, 64); // Linux' HOST_NAME_MAX; a hash and all the rest fit into 255 beside it
  try {
    return `${name}-${/\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? 0}`;
  } catch {
    return name; // a system without namespaces
  }
}

/** Where the process `pid` of `on` collects a blob; `claim` counts its own. */
export const incompletePath = (blob: string, pid: number, claim: number, on: string): string =>
  `${blob}.koala.${pid}-${claim}-${on}.incomplete`;

/** What was left on purpose, for whoever comes next. */
const leftPath = (blob: string): string => `${blob}.koala.incomplete`;

let claims = 0;

/**
 * A place to collect a blob's `size` bytes that no other process writes to, with the most that interrupted downloads have
 * left of it.
 */
export async function claimIncomplete(blob: string, size: number): Promise<string> {
  await mkdir(dirname(blob), { recursive: true });
  const mine = incompletePath(blob, process.pid, claims++, machine());
  for (const { path } of await leftovers(blob, size)) {
    const isMine = await rename(path, mine).then(
      () => true,
      () => false, // another process was faster
    );
    if (isMine) break;
  }
  return mine;
}

/** Leaves what has been collected for the next try. */
export const releaseIncomplete = (mine: string, blob: string): Promise<void> =>
  rename(mine, leftPath(blob)).catch(() => {});

/** How many of a blob's `size` bytes need not be fetched, because an interrupted download has left them. */
export const bytesLeft = async (blob: string, size: number): Promise<number> =>
  (await leftovers(blob, size))[0]?.bytes ?? 0;

/** Incomplete files of a blob that nobody is writing to, with how much of each is of use, the most first. */
async function leftovers(blob: string, size: number): Promise<{ path: string; bytes: number }[]> {
  const folder = dirname(blob);
  const found: { path: string; bytes: number }[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.startsWith(`${basename(blob)}.koala.`)) continue;
    const path = join(folder, name);
    const facts = await stat(path).catch(() => null);
    if (facts === null || !isFree(path, blob, facts.mtimeMs)) continue;
    // more than the blob has is no part of it: it is taken last, and emptied
    found.push({ path, bytes: facts.size > size ? 0 : facts.size });
  }
  return found.sort((a, b) => b.bytes - a.bytes);
}

function isFree(path: string, blob: string, changedMs: number): boolean {
  if (path === leftPath(blob)) return true;
  const [, pid, on] = /^\.koala\.(\d+)-\d+-(.+)\.incomplete$/.exec(path.slice(blob.length)) ?? [];
  if (pid === undefined) return false;
  // of another machine's processes nothing can be known: whether their files change must do
  return on === machine() ? !isRunning(Number(pid)) : Date.now() - changedMs > abandonedMs;
}
