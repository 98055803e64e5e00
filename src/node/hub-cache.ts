/**
 * The cache of the hub on this machine, in the place and layout that huggingface_hub and diffusers use, so that what one
 * fetched the other finds: `models--owner--name/{blobs,refs,snapshots}`. A blob is named by its hash; a snapshot is a
 * folder of symbolic links to blobs. Source: the guide "Understand caching" of huggingface_hub.
 */

import { readFileSync } from "node:fs";
import { copyFile, lstat, mkdir, readFile, realpath, rm, stat, symlink, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import { outputError } from "./files.ts";
import { type ProxySettings, proxySettings } from "./hub-proxy.ts";

export interface HubSettings {
  /** Where the hub answers, without a slash at the end. */
  readonly endpoint: string;
  readonly token: string | null;
  /** The cache folder. */
  readonly cache: string;
  readonly isOffline: boolean;
  /** What requests go through; absent: they go straight to the hub. */
  readonly proxy?: ProxySettings;
}

/** The names of environment variables are huggingface_hub's and curl's: whoever has set them for Python need not again. */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const home = env.HF_HOME ?? join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface");
  const proxy = proxySettings(env);
  return {
    endpoint: (env.HF_ENDPOINT ?? "https://huggingface.co").replace(/\/+$/, ""),
    token: env.HF_TOKEN?.trim() || savedToken(env.HF_TOKEN_PATH ?? join(home, "token")),
    cache: env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? join(home, "hub"),
    isOffline: ["1", "on", "yes", "true"].includes((env.HF_HUB_OFFLINE ?? "").toLowerCase()),
    ...(proxy === null ? {} : { proxy }),
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

/**
 * Remembers which commit a branch or tag names, where huggingface_hub does: the slashes of its name are folders, so that
 * `refs/pr/1` lies in `refs/refs/pr/1`.
 * @throws KoalaError E_OUTPUT, E_DISK; where `a` is remembered there is no place for `a/b`
 */
export async function rememberRevision(root: string, revision: string, commit: string): Promise<void> {
  if (isCommit(revision)) return;
  const path = join(root, "refs", revision);
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, commit);
  } catch (error) {
    throw outputError(path, error);
  }
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
