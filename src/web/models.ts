/**
 * A model by what the user calls it: a folder of a site (with its list of files, `koala-files.json`) or a hub id. It is
 * fetched to the shelf once, gone on with after a break, checked by hash, and read from there.
 */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { fetchFile } from "../hub/fetch-file.ts";
import { type Connection, defaultTiming, fetchAnswer } from "../hub/http.ts";
import { lookUp, type RemoteFile } from "../hub/look-up.ts";
import type { OpenOptions } from "../runtime/host.ts";
import type { ModelFiles } from "../weights/files.ts";
import { memoryShelf, opfsShelf, type Shelf, type ShelfRecord } from "./shelf.ts";

/** The list of files that `npm run site` writes beside a model. */
export const listName = "koala-files.json";

const hub = "https://huggingface.co";

let shelf: Promise<Shelf> | null = null;
/** The place where this browser keeps models. */
export const theShelf = (): Promise<Shelf> => (shelf ??= opfsShelf().then((there) => there ?? memoryShelf()));

/** Whether a location is a folder of a site: `https://…`, `/models/x`, `./models/x`. */
const isSite = (location: string): boolean => /^(https?:\/\/|\/|\.\/)/.test(location);

const connectionTo = (endpoint: string, signal: AbortSignal | undefined): Connection => ({
  endpoint,
  token: null,
  timing: defaultTiming,
  signal,
});

/** What a site says of a model's files. */
interface SiteList {
  readonly files: readonly { readonly path: string; readonly size: number; readonly sha256: string }[];
}

async function siteFiles(location: string, connection: Connection): Promise<readonly RemoteFile[]> {
  const base = new URL(`${location.replace(/\/+$/, "")}/`, globalThis.location.href);
  const answer = await fetchAnswer(new URL(listName, base).href, { cache: "no-cache" }, location, connection);
  const list = (await answer.json().catch(() => null)) as Partial<SiteList> | null;
  const isList =
    Array.isArray(list?.files) &&
    list.files.every(
      (f) => typeof f.path === "string" && Number.isInteger(f.size) && /^[0-9a-f]{64}$/.test(f.sha256),
    );
  check(isList, "E_MODEL", () => ({
    where: location,
    expected: `a list of the model's files, ${listName}`,
    got: "something else",
  }));
  return (list as SiteList).files.map(({ path, size, sha256 }) => ({
    path,
    url: new URL(path.split("/").map(encodeURIComponent).join("/"), base).href,
    expected: { size, hash: { kind: "sha256", hex: sha256 } },
  }));
}

const isWhole = (record: ShelfRecord): boolean =>
  Object.keys(record.files).every((path) => record.checked.includes(path));

/** Whether both are of the same files. */
const isSame = (record: ShelfRecord, remote: readonly RemoteFile[]): boolean =>
  remote.length === Object.keys(record.files).length &&
  remote.every(({ path, expected }) => record.files[path]?.hash.hex === expected.hash.hex);

/**
 * Opens a model, fetching what is not here. A model of the hub that is whole here is not asked for again; one of a site
 * is looked up, and used as it is when the site does not answer.
 * @throws KoalaError E_MODEL, E_HUB, E_OFFLINE, E_CHECKSUM, E_DISK, E_CONFLICT
 */
export async function openModel(location: string, o: OpenOptions = {}): Promise<ModelFiles> {
  check(isSite(location) || /^\w[\w.-]*\/\w[\w.-]*$/.test(location), "E_MODEL", () => ({
    where: location,
    expected: "the address of a model's folder, or a hub id (owner/name)",
    got: "neither",
  }));
  const place = await theShelf();
  const known = await place.record(location);
  const isHere = known !== null && isWhole(known);
  if (isHere && (o.isOffline === true || !isSite(location))) return place.files(known);
  check(o.isOffline !== true, "E_OFFLINE", () => ({
    where: location,
    expected: "the model in this browser's storage",
    got: known === null ? "nothing of it" : "a part of it",
    hint: "Fetch it once with the network on.",
  }));
  const connection = connectionTo(isSite(location) ? globalThis.location.origin : hub, o.signal);
  let remote: readonly RemoteFile[];
  try {
    remote = isSite(location)
      ? await siteFiles(location, connection)
      : (await lookUp(location, { connection, revision: "main" })).files;
  } catch (error) {
    if (isHere && !(navigator.onLine && error instanceof KoalaError && error.code !== "E_HUB"))
      return place.files(known);
    throw error;
  }
  if (isHere && isSame(known, remote)) return place.files(known);
  return place.files(await fetchAll(place, location, remote, known, { ...o, connection }));
}

async function fetchAll(
  place: Shelf,
  location: string,
  remote: readonly RemoteFile[],
  known: ShelfRecord | null,
  o: OpenOptions & { readonly connection: Connection },
): Promise<ShelfRecord> {
  const checked = remote
    .filter(
      ({ path, expected }) =>
        known?.checked.includes(path) && known.files[path]?.hash.hex === expected.hash.hex,
    )
    .map(({ path }) => path);
  let record: ShelfRecord = {
    location,
    bytes: remote.reduce((sum, { expected }) => sum + expected.size, 0),
    files: Object.fromEntries(remote.map(({ path, expected }) => [path, expected])),
    checked,
  };
  const missing = remote.filter(({ path }) => !checked.includes(path));
  await checkRoom(place, location, missing);
  await place.write(record);
  for (const { path, url, expected } of missing) {
    const file = await place.grow(location, path, expected);
    try {
      await fetchFile(url, file, {
        ...{ where: `${location}/${path}`, expected, connection: o.connection },
        onBytes: (bytes) => o.onProgress?.(path, bytes, expected.size),
      });
    } finally {
      file.close();
    }
    record = { ...record, checked: [...record.checked, path] };
    await place.write(record);
  }
  return record;
}

/** @throws KoalaError E_DISK when the browser would not give the room */
async function checkRoom(place: Shelf, location: string, missing: readonly RemoteFile[]): Promise<void> {
  const lacking = missing.map(
    async ({ path, expected: { size } }) => size - Math.min(size, await place.begun(location, path)),
  );
  const needed = (await Promise.all(lacking)).reduce((sum, bytes) => sum + bytes, 0);
  await navigator.storage?.persist?.().catch(() => false); // asks not to be evicted; a browser may say no
  const estimate: StorageEstimate | undefined = await navigator.storage?.estimate?.().catch(() => undefined);
  const { quota, usage = 0 } = estimate ?? {};
  const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
  check(quota === undefined || quota - usage >= needed, "E_DISK", () => ({
    where: location,
    expected: `room for ${megabytes(needed)} in this browser's storage`,
    got: megabytes(Math.max(0, (quota ?? 0) - usage)),
    hint: "Remove a model that is kept here, or free space on the device.",
  }));
}
