/**
 * Models from a hub: what a repository has, and fetching the part of it that a pipeline needs into the cache.
 * `@huggingface/hub` knows the hub's interface (revisions, pages of file lists); continuing, checking and repeating
 * downloads, which it does not do, is in `src/hub`.
 */

import { mkdir, rename, stat, statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import { check } from "../core/assert.ts";
import { type Connection, defaultTiming, type Timing } from "../hub/http.ts";
import { lookUp as lookUpOnHub, type RemoteFile } from "../hub/look-up.ts";
import type { OpenOptions } from "../runtime/host.ts";
import { outputError } from "./files.ts";
import {
  cachedSnapshot,
  type HubSettings,
  hubSettings,
  linkBlob,
  modelCache,
  rememberRevision,
} from "./hub-cache.ts";
import { fetchToPath } from "./hub-download.ts";
import { bytesLeft, claimIncomplete, releaseIncomplete } from "./hub-incomplete.ts";
import { fetchThrough } from "./hub-proxy.ts";

export interface HubOptions extends OpenOptions {
  /** A branch, tag or commit; `main` by default. */
  readonly revision?: string;
  /** fp16 weights where there are some, by default; null for the plain ones. */
  readonly variant?: string | null;
  /** This one file instead of what a pipeline needs. */
  readonly file?: string;
  /** By default from the environment. */
  readonly settings?: HubSettings;
  readonly timing?: Timing;
  /** Called once, at the end of a download. */
  onFetched?(change: HubChange): void;
}

/** What a download has changed in the cache. */
export interface HubChange {
  /** How many files came, or came again; 0 where all were there. */
  readonly files: number;
  readonly commit: string;
  /** The commit that the revision named in the cache before; null where it named none that is here. */
  readonly before: string | null;
}

export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** Whether it need not be fetched. */
  readonly isCached: boolean;
}

export interface HubModel {
  readonly id: string;
  readonly commit: string;
  /** What a pipeline needs of the repository. */
  readonly files: readonly HubFile[];
  /** Size of those files. */
  readonly totalBytes: number;
  /** Of these, still to be fetched. */
  readonly missingBytes: number;
}

/** A file of the hub and where it goes. */
interface CachedFile extends RemoteFile {
  readonly blob: string;
  /** Whether it need not be fetched. */
  readonly isCached: boolean;
}

async function resolved(
  o: HubOptions,
): Promise<{ settings: HubSettings; revision: string; connection: Connection }> {
  const settings = o.settings ?? hubSettings();
  const { endpoint, token, proxy } = settings;
  const timing = o.timing ?? defaultTiming;
  const through = proxy === undefined ? {} : { fetch: await fetchThrough(proxy) };
  return {
    settings,
    revision: o.revision ?? "main",
    connection: { endpoint, token, timing, signal: o.signal, ...through },
  };
}

/**
 * What would be fetched of a model, and how much of it is there already.
 * @throws KoalaError E_HUB, E_MODEL, E_OFFLINE
 */
export async function listModel(id: string, o: HubOptions = {}): Promise<HubModel> {
  const { commit, files } = await lookUp(id, o);
  return {
    id,
    commit,
    files: files.map(({ path, expected, isCached }) => ({ path, size: expected.size, isCached })),
    totalBytes: bytesOf(files),
    missingBytes: bytesOf(files.filter((file) => !file.isCached)),
  };
}

/**
 * Fetches a model into the cache, as far as it is not there, and gives the folder of its snapshot. What an earlier run
 * left unfinished is continued; a file of the wrong size is fetched again.
 * @throws KoalaError E_HUB, E_CHECKSUM, E_MODEL, E_OFFLINE, E_DISK, E_OUTPUT
 */
export async function downloadModel(id: string, o: HubOptions = {}): Promise<string> {
  const { settings, revision, connection, commit, root, files } = await lookUp(id, o);
  const before = await cachedSnapshot(settings.cache, id, revision);
  const snapshot = join(root, "snapshots", commit);
  await mkdir(snapshot, { recursive: true }).catch((error) => {
    throw outputError(snapshot, error);
  });
  await checkRoom(settings.cache, files);
  for (const file of files) {
    const where = `${id}/${file.path}`;
    const onBytes = (bytes: number): void => o.onProgress?.(file.path, bytes, file.expected.size);
    if (!file.isCached) await fetchBlob(file, { where, connection, onBytes });
    await linkBlob(file.blob, join(snapshot, ...file.path.split("/")));
  }
  await rememberRevision(root, revision, commit);
  o.onFetched?.({
    files: files.filter((file) => !file.isCached).length,
    commit,
    before: before === null ? null : basename(before),
  });
  return snapshot;
}

async function fetchBlob(
  file: CachedFile,
  o: { where: string; connection: Connection; onBytes(bytes: number): void },
): Promise<void> {
  const incomplete = await claimIncomplete(file.blob, file.expected.size);
  try {
    await fetchToPath(file.url, incomplete, { ...o, expected: file.expected });
    await rename(incomplete, file.blob);
  } catch (error) {
    await releaseIncomplete(incomplete, file.blob);
    throw error;
  }
}

/** @throws KoalaError E_DISK when what is missing does not fit; what interrupted downloads have left has its place already */
async function checkRoom(cache: string, files: readonly CachedFile[]): Promise<void> {
  let missing = 0;
  for (const { blob, expected, isCached } of files)
    if (!isCached) missing += expected.size - (await bytesLeft(blob, expected.size));
  const { bavail, bsize } = await statfs(cache);
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  check(bavail * bsize >= missing, "E_DISK", () => ({
    where: cache,
    expected: `room for ${gigabytes(missing)}`,
    got: gigabytes(bavail * bsize),
    hint: "Free some space, or set HF_HOME to a folder on another disk.",
  }));
}

const bytesOf = (files: readonly CachedFile[]): number =>
  files.reduce((sum, { expected }) => sum + expected.size, 0);

interface LookedUp extends Awaited<ReturnType<typeof resolved>> {
  readonly commit: string;
  /** The part of the cache that belongs to the model. */
  readonly root: string;
  readonly files: readonly CachedFile[];
}

/** The commit and the files that are wanted of it, with their places in the cache. */
async function lookUp(id: string, o: HubOptions): Promise<LookedUp> {
  const asked = await resolved(o);
  const { settings, revision, connection } = asked;
  check(!(o.isOffline ?? settings.isOffline), "E_OFFLINE", () => ({
    where: id,
    expected: "leave to use the network",
    got: "offline mode",
    hint: "Leave out --offline, and unset HF_HUB_OFFLINE.",
  }));
  const { variant, file, weightsOf } = o;
  const { commit, files } = await lookUpOnHub(id, {
    ...{ connection, revision },
    ...(variant === undefined ? {} : { variant }),
    ...(file === undefined ? {} : { file }),
    ...(weightsOf === undefined ? {} : { weightsOf }),
  });
  const root = modelCache(settings.cache, id);
  const placed = files.map(async (remote) => {
    const { size, hash } = remote.expected;
    const blob = join(root, "blobs", hash.hex);
    return { ...remote, blob, isCached: (await stat(blob).catch(() => null))?.size === size };
  });
  return { ...asked, commit, root, files: await Promise.all(placed) };
}
