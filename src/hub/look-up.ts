/** What a hub's repository has at a revision, and which of it a pipeline needs: names, sizes, hashes, addresses. */

import { type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { type ModelIndex, parseModelIndex } from "../weights/layout.ts";
import type { Expected } from "./fetch-file.ts";
import { type Connection, fetchAnswer } from "./http.ts";
import { besideAdapter, selectFiles } from "./select.ts";

/** A file with what is needed to fetch it. */
export interface RemoteFile {
  readonly path: string;
  readonly url: string;
  readonly expected: Expected;
}

export interface LookUpOptions {
  readonly connection: Connection;
  /** A branch, tag or commit. */
  readonly revision: string;
  /** fp16 weights where there are some, by default; null for the plain ones. */
  readonly variant?: string | null;
  /** Components whose weights are wanted; absent: all. */
  readonly weightsOf?: readonly string[];
  /** This one file instead of what a pipeline needs. */
  readonly file?: string;
}

/**
 * The commit that the revision names, and the files that are wanted of it.
 * @throws KoalaError E_HUB, E_MODEL
 */
export async function lookUp(
  id: string,
  o: LookUpOptions,
): Promise<{ readonly commit: string; readonly files: readonly RemoteFile[] }> {
  const { connection, revision } = o;
  const params = {
    hubUrl: connection.endpoint,
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
  const files = entries
    .filter(({ path }) => wanted.has(path))
    .map((entry) => ({ ...remoteFile(entry, id), url: urlOf(id, commit, entry.path, connection) }));
  return { commit, files };
}

const urlOf = (id: string, commit: string, path: string, { endpoint }: Connection): string =>
  `${endpoint}/${id}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;

function wantedFiles(
  paths: readonly string[],
  index: ModelIndex | null,
  id: string,
  o: LookUpOptions,
): string[] {
  const { file, variant, weightsOf } = o;
  if (file === undefined)
    return selectFiles(paths, index, {
      where: id,
      ...(variant === undefined ? {} : { variant }),
      ...(weightsOf === undefined ? {} : { weightsOf }),
    });
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
  return [file, ...besideAdapter(paths, file)];
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
  const answer = await fetchAnswer(urlOf(id, commit, "model_index.json", c), {}, where, c);
  return parseModelIndex(await readable(where, () => answer.json()), where);
}

function remoteFile({ path, lfs, oid, size }: ListFileEntry, id: string): Omit<RemoteFile, "url"> {
  const hash =
    lfs !== undefined
      ? ({ kind: "sha256", hex: lfs.oid } as const)
      : ({ kind: "git", hex: oid ?? "" } as const);
  check(/^[0-9a-f]{40}([0-9a-f]{24})?$/.test(hash.hex), "E_HUB", () => ({
    where: `${id}/${path}`,
    expected: "a hash to check the file with",
    got: JSON.stringify(hash.hex),
  }));
  return { path, expected: { size: lfs?.size ?? size, hash } };
}
