/**
 * Models from a hub: what a repository has, and fetching the part of it that a pipeline needs into the cache.
 * `@huggingface/hub` knows the hub's interface (revisions, pages of file lists); continuing, checking and repeating
 * downloads, which it does not do, is in hub-http.ts and hub-download.ts.
 */

import { mkdir, rename, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import type { OpenOptions } from "../runtime/host.ts";
import { type ModelIndex, parseModelIndex } from "../weights/layout.ts";
import { outputError } from "./files.ts";
import {
  claimIncomplete,
  type HubSettings,
  hubSettings,
  linkBlob,
  modelCache,
  releaseIncomplete,
  rememberRevision,
} from "./hub-cache.ts";
import { type Expected, fetchFile } from "./hub-download.ts";
import { type Connection, defaultTiming, fetchAnswer, type Timing } from "./hub-http.ts";
import { selectFiles } from "./hub-select.ts";

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

/** A file with what is needed to fetch it. */
interface RemoteFile extends HubFile {
  readonly expected: Expected;
  readonly blob: string;
}

interface Remote {
  readonly commit: string;
  readonly root: string;
  readonly files: readonly RemoteFile[];
}

const resolved = (o: HubOptions): { settings: HubSettings; revision: string; connection: Connection } => {
  const settings = o.settings ?? hubSettings();
  const { endpoint, token } = settings;
  const timing = o.timing ?? defaultTiming;
  return {
    settings,
    revision: o.revision ?? "main",
    connection: { endpoint, token, timing, signal: o.signal },
  };
};

/**
 * What would be fetched of a model, and how much of it is there already.
 * @throws KoalaError E_HUB, E_MODEL, E_OFFLINE
 */
export async function listModel(id: string, o: HubOptions = {}): Promise<HubModel> {
  const { commit, files } = await lookUp(id, o);
  const sum = (some: readonly HubFile[]): number => some.reduce((n, file) => n + file.size, 0);
  return {
    id,
    commit,
    files: files.map(({ path, size, isCached }) => ({ path, size, isCached })),
    totalBytes: sum(files),
    missingBytes: sum(files.filter((file) => !file.isCached)),
  };
}

/**
 * Fetches a model into the cache, as far as it is not there, and gives the folder of its snapshot. What an earlier run
 * left unfinished is continued.
 * @throws KoalaError E_HUB, E_CHECKSUM, E_MODEL, E_OFFLINE, E_DISK, E_OUTPUT
 */
export async function downloadModel(id: string, o: HubOptions = {}): Promise<string> {
  const { settings, revision, connection } = resolved(o);
  const { commit, root, files } = await lookUp(id, o);
  const snapshot = join(root, "snapshots", commit);
  await mkdir(snapshot, { recursive: true }).catch((error) => {
    throw outputError(snapshot, error);
  });
  await checkRoom(settings.cache, files);
  for (const file of files) {
    const where = `${id}/${file.path}`;
    const url = `${settings.endpoint}/${id}/resolve/${commit}/${file.path.split("/").map(encodeURIComponent).join("/")}`;
    const tell = (bytes: number): void => o.onProgress?.(file.path, bytes, file.size);
    if (file.isCached) tell(file.size);
    else await fetchBlob(file, { url, where, connection, onBytes: tell });
    await linkBlob(file.blob, join(snapshot, ...file.path.split("/")));
  }
  await rememberRevision(root, revision, commit);
  return snapshot;
}

async function fetchBlob(
  file: RemoteFile,
  o: { url: string; where: string; connection: Connection; onBytes(bytes: number): void },
): Promise<void> {
  const incomplete = await claimIncomplete(file.blob);
  try {
    await fetchFile(o.url, incomplete, { ...o, expected: file.expected });
    await rename(incomplete, file.blob);
  } catch (error) {
    await releaseIncomplete(incomplete, file.blob);
    throw error;
  }
}

/** @throws KoalaError E_DISK when what is missing does not fit */
async function checkRoom(cache: string, files: readonly HubFile[]): Promise<void> {
  const missing = files.reduce((n, file) => n + (file.isCached ? 0 : file.size), 0);
  const { bavail, bsize } = await statfs(cache);
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  check(bavail * bsize >= missing, "E_DISK", () => ({
    where: cache,
    expected: `room for ${gigabytes(missing)}`,
    got: gigabytes(bavail * bsize),
    hint: "Free some space, or set HF_HOME to a folder on another disk.",
  }));
}

/** The commit and the files that are wanted of it. */
async function lookUp(id: string, o: HubOptions): Promise<Remote> {
  const { settings, revision, connection } = resolved(o);
  check(!(o.isOffline ?? settings.isOffline), "E_OFFLINE", () => ({
    where: id,
    expected: "leave to use the network",
    got: "offline mode",
    hint: "Leave out --offline, and unset HF_HUB_OFFLINE.",
  }));
  const params = {
    hubUrl: settings.endpoint,
    fetch: (url: string | URL | Request, init?: RequestInit) =>
      fetchAnswer(url instanceof Request ? url.url : String(url), init ?? {}, id, connection),
  };
  const { commit, entries } = await readable(id, async () => {
    const { sha } = await modelInfo({ ...params, name: id, revision, additionalFields: ["sha"] });
    check(typeof sha === "string" && /^[0-9a-f]{40}$/.test(sha), "E_HUB", () => ({
      where: id,
      expected: "the commit of the revision",
      got: JSON.stringify(sha) ?? "none",
    }));
    const found: ListFileEntry[] = [];
    for await (const entry of listFiles({
      ...params,
      repo: { type: "model", name: id },
      recursive: true,
      revision: sha,
    })) {
      if (entry.type === "file" && isSafePath(entry.path)) found.push(entry);
    }
    return { commit: sha, entries: found };
  });
  const paths = entries.map(({ path }) => path);
  const index = paths.includes("model_index.json") ? await fetchIndex(id, commit, connection) : null;
  const wanted = new Set(wantedFiles(paths, index, id, o));
  const root = modelCache(settings.cache, id);
  const files = await Promise.all(
    entries.filter(({ path }) => wanted.has(path)).map((entry) => remoteFile(entry, root, id)),
  );
  return { commit, root, files };
}

function wantedFiles(
  paths: readonly string[],
  index: ModelIndex | null,
  id: string,
  o: HubOptions,
): string[] {
  const { file, variant } = o;
  if (file === undefined)
    return selectFiles(paths, index, { where: id, ...(variant === undefined ? {} : { variant }) });
  check(paths.includes(file), "E_HUB", () => {
    const others = paths.filter((path) => path.endsWith(".safetensors"));
    return {
      where: id,
      expected: `a file ${file}`,
      got: "none of that name",
      hint:
        others.length === 0 ? "It has no .safetensors files." : `It has ${others.slice(0, 5).join(", ")}.`,
    };
  });
  return [file];
}

/** Runs `ask`; what the library throws because an answer is not what the interface promises becomes our error. */
async function readable<T>(id: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
    throw new KoalaError("E_HUB", {
      where: id,
      expected: "an answer of the hub's interface",
      got: "something else",
      hint: "Does HF_ENDPOINT name a hub?",
      cause: error,
    });
  }
}

/** Names come from the repository and are joined to a folder here: none may lead out of it, on any system. */
const isSafePath = (path: string): boolean =>
  path.split(/[/\\]/).every((part) => part !== "" && part !== ".." && !/^[a-zA-Z]:/.test(part)) &&
  !path.includes("\0");

async function fetchIndex(id: string, commit: string, c: Connection): Promise<ModelIndex> {
  const where = `${id}/model_index.json`;
  const answer = await fetchAnswer(`${c.endpoint}/${id}/resolve/${commit}/model_index.json`, {}, where, c);
  return parseModelIndex(await readable(where, () => answer.json()), where);
}

async function remoteFile(entry: ListFileEntry, root: string, id: string): Promise<RemoteFile> {
  const { path, lfs, oid } = entry;
  const hash =
    lfs !== undefined
      ? ({ kind: "sha256", hex: lfs.oid } as const)
      : ({ kind: "git", hex: oid ?? "" } as const);
  check(/^[0-9a-f]{40}([0-9a-f]{24})?$/.test(hash.hex), "E_HUB", () => ({
    where: `${id}/${path}`,
    expected: "a hash to check the file with",
    got: JSON.stringify(hash.hex),
  }));
  const size = lfs?.size ?? entry.size;
  const blob = join(root, "blobs", hash.hex);
  const isCached = (await stat(blob).catch(() => null))?.size === size;
  return { path, size, isCached, expected: { size, hash }, blob };
}
