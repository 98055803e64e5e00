/** A model by what the user calls it: a folder, a checkpoint file, or a model on the hub, fetched when it is not here. */

import { stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import type { Timing } from "../hub/http.ts";
import { missingPart } from "../hub/select.ts";
import { presets } from "../models/presets.ts";
import type { OpenOptions } from "../runtime/host.ts";
import type { ModelFiles } from "../weights/files.ts";
import { adapterConfigOf } from "../weights/lora-scale.ts";
import { usualModel, usualModelName } from "./cli/package.ts";
import { openFile, openFolder, similarSiblings } from "./files.ts";
import type { HubChange, HubOptions } from "./hub.ts";
import { cachedSnapshot, type HubSettings, hubSettings } from "./hub-cache.ts";
import { checkSource } from "./quantized-folder.ts";

export interface HubLocation {
  /** `owner/name` */
  readonly id: string;
  readonly revision: string | undefined;
  /** One file of it: `owner/name/file.safetensors`. */
  readonly file: string | undefined;
}

/**
 * Revisions whose slashes are told from those of a file's path. Source: `SPECIAL_REFS_REVISION_REGEX` of huggingface_hub's
 * `hf_file_system.py`.
 */
const hubRefs = /^refs\/(?:convert\/\w+|pr\/\d+)(?=\/)/;

/**
 * `owner/name`, `owner/name@revision`, `owner/name/file.safetensors`; null for what no hub model is called. A revision may
 * have slashes, as in `@refs/pr/1` and `@feature/x`; before a file they are written `%2F`, save those of `refs/pr/N` and
 * `refs/convert/NAME`, as huggingface_hub has it.
 */
export function parseHubLocation(location: string): HubLocation | null {
  const match = /^(\w[\w.-]*\/\w[\w.-]*)(?:@([^\\]+)|\/([^\\]+\.safetensors))?$/.exec(location);
  const [, id, behind, plainFile] = match ?? [];
  if (id === undefined || location.includes("..")) return null;
  if (behind === undefined) return { id, revision: undefined, file: plainFile };
  const end = behind.endsWith(".safetensors")
    ? (hubRefs.exec(behind)?.[0].length ?? behind.indexOf("/"))
    : -1;
  const revision = gitName(end < 0 ? behind : behind.slice(0, end));
  return revision === null ? null : { id, revision, file: end < 0 ? undefined : behind.slice(end + 1) };
}

/**
 * A name that git takes for a branch, a tag or a commit, its escapes undone; else null. The cache has a file of that path, so
 * none may lead out of its folder. Source: `git help check-ref-format`.
 */
function gitName(escaped: string): string | null {
  let name: string;
  try {
    name = decodeURIComponent(escaped);
  } catch {
    return null;
  }
  const isFit =
    !/[\s\p{Cc}~^:?*[\\]|\.\.|@\{|\.$|^@$/u.test(name) &&
    name.split("/").every((part) => part !== "" && !part.startsWith(".") && !part.endsWith(".lock"));
  return isFit ? name : null;
}

export interface OpenModelOptions extends OpenOptions {
  /** By default from the environment. */
  readonly settings?: HubSettings;
  readonly timing?: Timing;
  /** Asks the hub though all is in the cache, and fetches what has changed there or is damaged here; not where `isOffline`. */
  readonly isRefreshed?: boolean;
  /** Called where the hub was asked, once all is here. */
  onFetched?(change: HubChange): void;
}

/**
 * The files of a model. A path that exists is taken as it is, and `koala-emoji` comes along; else `owner/name` is looked up in the cache, without
 * asking the network when it is complete there (unless `isRefreshed`, as by `koala download`), and fetched when it is not.
 * @throws KoalaError E_MODEL when there is no such thing, E_HUB, E_OFFLINE, E_CHECKSUM, E_DISK, E_FILE
 */
export async function openModel(location: string, o: OpenModelOptions = {}): Promise<ModelFiles> {
  const facts = await stat(location).catch(() => null);
  if (facts?.isDirectory() === true) return openLocal(location);
  if (facts !== null) return openCheckpoint(location);
  if (location === usualModelName) return openLocal(usualModel);
  const hub = parseHubLocation(location);
  if (hub === null) {
    throw new KoalaError("E_MODEL", {
      where: location,
      expected: "a model's folder, a .safetensors file, or a hub id (owner/name)",
      got: "no file or folder of that name",
      ...(await suggestion(location)),
    });
  }
  const settings = o.settings ?? hubSettings();
  const isOffline = o.isOffline ?? settings.isOffline;
  if (isOffline || o.isRefreshed !== true) {
    const cached = await openCached(hub, settings, isOffline, o.weightsOf);
    if (typeof cached !== "string") return cached;
    check(!isOffline, "E_OFFLINE", () => ({
      where: location,
      expected: `the model in the cache ${settings.cache}`,
      got: cached,
      hint: `Fetch it once with the network on: koala download ${location}`,
    }));
  }
  return fetchModel(location, hub, { ...o, settings });
}

/** A folder; one that was quantized from a model that has changed since is refused. */
async function openLocal(location: string): Promise<ModelFiles> {
  const files = await openFolder(location);
  await checkSource(files);
  return files;
}

async function suggestion(location: string): Promise<{ hint?: string }> {
  const weights = Object.entries(presets).find(([name]) => name === location)?.[1].hub ?? null;
  if (weights !== null) return { hint: `${location} is a preset; weights for it are ${weights}.` };
  const near = (await similarSiblings(location))[0];
  return near === undefined ? {} : { hint: `Did you mean ${near}?` };
}

async function openCheckpoint(path: string): Promise<ModelFiles> {
  if (path.endsWith(".safetensors")) return openWeights(path);
  throw new KoalaError("E_MODEL", {
    where: path,
    expected: "a folder or a .safetensors file",
    got: "another kind of file",
    ...(/\.(ckpt|bin|pt|pth)$/.test(path)
      ? { hint: "A pickle can run code when it is opened, so none is read: convert it to safetensors first." }
      : {}),
  });
}

/** One file of weights; with an adapter's weights the config that PEFT keeps beside them. */
async function openWeights(path: string): Promise<ModelFiles> {
  const files = await openFile(path);
  const config = adapterConfigOf(basename(path));
  if (config === null || (await stat(join(dirname(path), config)).catch(() => null)) === null) return files;
  return { ...files, list: async () => [...(await files.list()), config] };
}

/** The model as the cache has it, or in words what is missing. */
async function openCached(
  hub: HubLocation,
  settings: HubSettings,
  isOffline: boolean,
  weightsOf: readonly string[] | undefined,
): Promise<ModelFiles | string> {
  const snapshot = await cachedSnapshot(settings.cache, hub.id, hub.revision ?? "main");
  if (snapshot === null) return "nothing of it";
  if (hub.file !== undefined) {
    const isThere = (await stat(join(snapshot, hub.file)).catch(() => null)) !== null;
    return isThere ? openSnapshot(snapshot, hub) : `no ${hub.file} of it`;
  }
  const files = await openSnapshot(snapshot, hub);
  const missing = await missingPart(files, weightsOf);
  if (missing !== null) return `it without ${missing}`;
  // a lone checkpoint may be one file that was fetched by name out of a whole pipeline: only the hub can tell
  const isLone = !(await files.list()).some((path) => path === "model_index.json" || path === "config.json");
  return isLone && !isOffline ? "a single file of it" : files;
}

/** A snapshot, or the one file of it that is meant, called by the hub's name. */
async function openSnapshot(snapshot: string, { id, file }: HubLocation): Promise<ModelFiles> {
  const files = file === undefined ? await openFolder(snapshot) : await openWeights(join(snapshot, file));
  return { ...files, location: id };
}

async function fetchModel(location: string, hub: HubLocation, o: HubOptions): Promise<ModelFiles> {
  const { id, revision, file } = hub;
  // loaded here: most runs find their model on this machine, and start faster without it
  const { downloadModel } = await import("./hub.ts");
  let snapshot: string;
  try {
    snapshot = await downloadModel(id, {
      ...o,
      ...(revision === undefined ? {} : { revision }),
      ...(file === undefined ? {} : { file }),
    });
  } catch (error) {
    const isUnknown = error instanceof KoalaError && error.where === id && /^40[14] /.test(error.got);
    if (!isUnknown) throw error;
    const near = (await similarSiblings(location))[0];
    throw new KoalaError("E_MODEL", {
      where: location,
      expected: `a folder, a .safetensors file, or a model on ${o.settings?.endpoint}`,
      got: `no such file or folder, and from the hub ${error.got}`,
      hint: near === undefined ? (error.hint ?? "Check the name.") : `Did you mean ${near}?`,
      cause: error,
    });
  }
  return openSnapshot(snapshot, hub);
}
