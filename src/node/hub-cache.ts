/**
 * The cache of the hub on this machine, in the place and layout that huggingface_hub and diffusers use, so that what one
 * fetched the other finds: `models--owner--name/{blobs,refs,snapshots}`. A blob is named by its hash; a snapshot is a
 * folder of symbolic links to blobs. Source: the guide "Understand caching" of huggingface_hub.
 */

import { readFileSync } from "node:fs";
import {
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import { isRunning } from "./files.ts";

export interface HubSettings {
  /** Where the hub answers, without a slash at the end. */
  readonly endpoint: string;
  readonly token: string | null;
  /** The cache folder. */
  readonly cache: string;
  readonly isOffline: boolean;
}

/** The names of environment variables are huggingface_hub's: whoever has set them for Python need not again. */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const home = env.HF_HOME ?? join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface");
  return {
    endpoint: (env.HF_ENDPOINT ?? "https://huggingface.co").replace(/\/+$/, ""),
    token: env.HF_TOKEN?.trim() || savedToken(env.HF_TOKEN_PATH ?? join(home, "token")),
    cache: env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? join(home, "hub"),
    isOffline: ["1", "on", "yes", "true"].includes((env.HF_HUB_OFFLINE ?? "").toLowerCase()),
  };
}

/** What `hf auth login` has left, or null. */
function savedToken(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim() || null;
  } catch {
    return null;
  }
}

const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);

/** The part of the cache that belongs to one model. */
export const modelCache = (cache: string, id: string): string =>
  join(cache, `models--${id.replaceAll("/", "--")}`);

/** The folder of the snapshot that `revision` named when it was last fetched, or null. */
export async function cachedSnapshot(cache: string, id: string, revision: string): Promise<string | null> {
  const root = modelCache(cache, id);
  const commit = isCommit(revision)
    ? revision
    : (await readFile(join(root, "refs", revision), "utf8").catch(() => "")).trim();
  if (!isCommit(commit)) return null;
  const folder = join(root, "snapshots", commit);
  return (await stat(folder).catch(() => null))?.isDirectory() === true ? folder : null;
}

/** Remembers which commit a branch or tag names. */
export async function rememberRevision(root: string, revision: string, commit: string): Promise<void> {
  if (isCommit(revision)) return;
  const path = join(root, "refs", revision);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, commit);
}

/** Puts a blob into a snapshot: a relative link, or a copy where the file system has none. */
export async function linkBlob(blob: string, pointer: string): Promise<void> {
  if ((await realpath(pointer).catch(() => null)) === (await realpath(blob))) return;
  await mkdir(dirname(pointer), { recursive: true });
  await rm(pointer, { force: true });
  try {
    await symlink(relative(dirname(pointer), blob), pointer);
  } catch (error) {
    if ((await lstat(pointer).catch(() => null)) !== null) return; // another process was faster
    if (
      !(
        error instanceof Error &&
        "code" in error &&
        ["EPERM", "ENOSYS", "ENOTSUP"].includes(String(error.code))
      )
    )
      throw error;
    await copyFile(blob, pointer);
  }
}

let claims = 0;

/**
 * A place to collect a blob's bytes that no other process writes to, with what an interrupted download has left.
 * Leftovers wait as `HASH.incomplete`; taking one is a rename, which only one process can do.
 */
export async function claimIncomplete(blob: string): Promise<string> {
  await mkdir(dirname(blob), { recursive: true });
  const mine = `${blob}.koala-${process.pid}-${claims++}.incomplete`;
  for (const leftover of await leftovers(blob)) {
    if (
      await rename(leftover, mine).then(
        () => true,
        () => false,
      )
    )
      break;
  }
  return mine;
}

/** Leaves what has been collected for the next try. */
export const releaseIncomplete = (mine: string, blob: string): Promise<void> =>
  rename(mine, `${blob}.incomplete`).catch(() => {});

/** Incomplete files of this blob that nobody is writing to, the longest first. */
async function leftovers(blob: string): Promise<string[]> {
  const folder = dirname(blob);
  const prefix = blob.slice(folder.length + 1);
  const found: { path: string; size: number }[] = [];
  for (const name of await readdir(folder)) {
    if (!name.startsWith(prefix)) continue;
    const owner = /^\.koala-(\d+)-\d+\.incomplete$/.exec(name.slice(prefix.length));
    if (name !== `${prefix}.incomplete` && (owner === null || isRunning(Number(owner[1])))) continue;
    const path = join(folder, name);
    found.push({ path, size: (await stat(path).catch(() => null))?.size ?? 0 });
  }
  return found.sort((a, b) => b.size - a.size).map(({ path }) => path);
}
