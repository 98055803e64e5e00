/**
 * Files on this machine: a folder as a model's files, and writing that leaves either the whole file or none.
 */

import { constants, existsSync, realpathSync } from "node:fs";
import { access, type FileHandle, mkdir, open, readdir, rename, rm, stat, unlink } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve } from "node:path";
import { check } from "../core/assert.ts";
import { type ErrorCode, KoalaError } from "../core/errors.ts";
import { nearest } from "../core/nearest.ts";
import type { ModelFiles } from "../weights/files.ts";
import { shellWord } from "./shell.ts";

/** Deepest folder that is looked into: diffusers' layout has one level; this keeps `--model /` from walking a disk. */
const maxDepth = 3;
/** Most files that a model may have: the largest hub repositories of pipelines have some hundred. */
const maxFiles = 1000;
/** Bytes of one read call, below Node's limit of 2^31 - 1. */
const readChunk = 1 << 30;

/** The code of a system error (`ENOENT`), or null. */
const systemCode = (error: unknown): string | null =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null;

/** What system errors are called in a sentence. */
const systemWords: Readonly<Record<string, string>> = {
  ENOENT: "no such file or folder",
  EACCES: "no permission",
  EPERM: "no permission",
  EROFS: "a read-only file system",
  EISDIR: "a folder",
  EEXIST: "a file in a folder's place",
  ENOTDIR: "a file in a folder's place",
  ENOSPC: "a full disk",
  EDQUOT: "a full quota",
  ELOOP: "symbolic links in a circle",
  ENAMETOOLONG: "a name that is too long",
  EMFILE: "too many open files",
};

function fileError(
  code: ErrorCode,
  where: string,
  expected: string,
  error: unknown,
  hint?: string,
): KoalaError {
  if (error instanceof KoalaError) return error;
  const system = systemCode(error);
  const got =
    system !== null
      ? (systemWords[system] ?? system)
      : error instanceof Error
        ? error.message
        : String(error);
  return new KoalaError(code, {
    where,
    expected,
    got,
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

/**
 * The entries beside `path` whose names look like its own, for "did you mean". Nothing when the parent cannot be read.
 */
export async function similarSiblings(path: string): Promise<string[]> {
  const parent = dirname(resolve(path));
  const names = await readdir(parent).catch(() => []);
  return nearest(basename(path), names).map((name) => join(dirname(path), name));
}

/**
 * The files of a folder and the folders in it, hidden ones left out.
 * @throws KoalaError E_FILE when there is no such folder, it may not be read, or it is a file
 */
export async function openFolder(folder: string): Promise<ModelFiles> {
  const root = resolve(folder);
  try {
    check((await stat(root)).isDirectory(), "E_FILE", () => ({
      where: folder,
      expected: "a folder",
      got: "a file",
    }));
    await access(root, constants.R_OK | constants.X_OK);
  } catch (error) {
    const near = systemCode(error) === "ENOENT" ? (await similarSiblings(folder))[0] : undefined;
    throw fileError(
      "E_FILE",
      folder,
      "a folder",
      error,
      near === undefined ? undefined : `Did you mean ${near}?`,
    );
  }
  let listing: Promise<readonly string[]> | null = null;
  return modelFiles(folder, root, () => (listing ??= listFolder(root, folder)));
}

/**
 * One file as the files of a model.
 * @throws KoalaError E_FILE
 */
export async function openFile(path: string): Promise<ModelFiles> {
  const absolute = resolve(path);
  const name = basename(absolute);
  try {
    check((await stat(absolute)).isFile(), "E_FILE", () => ({
      where: path,
      expected: "a file",
      got: "a folder",
    }));
  } catch (error) {
    throw fileError("E_FILE", path, "a file", error);
  }
  return modelFiles(dirname(path), dirname(absolute), async () => [name]);
}

function modelFiles(location: string, root: string, list: () => Promise<readonly string[]>): ModelFiles {
  /** Absolute path of a relative one that stays inside the folder. */
  function inside(path: string): string {
    const absolute = resolve(root, path);
    const back = relative(root, absolute);
    check(back !== ".." && !back.startsWith("../") && !isAbsolute(back), "E_FILE", () => ({
      where: location,
      expected: "paths inside the model's folder",
      got: path,
    }));
    return absolute;
  }

  return {
    location,
    list,
    async size(path) {
      try {
        return (await stat(inside(path))).size;
      } catch (error) {
        throw fileError("E_FILE", join(location, path), "a file", error);
      }
    },
    async read(path, start, end) {
      const where = join(location, path);
      let handle: FileHandle | null = null;
      try {
        handle = await open(inside(path), "r");
        const { size } = await handle.stat();
        check(end <= size, "E_FILE", () => ({ where, expected: `at least ${end} bytes`, got: `${size}` }));
        return await readRange(handle, start, end);
      } catch (error) {
        throw inputError(where, error);
      } finally {
        await handle?.close();
      }
    },
    localPath(path) {
      try {
        return realpathSync(inside(path));
      } catch {
        return null;
      }
    },
  };
}

/** Bytes from `start` up to, not including, `end`. @throws Error where the file ends sooner */
export async function readRange(
  handle: FileHandle,
  start: number,
  end: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - start);
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await handle.read(
      bytes,
      done,
      Math.min(readChunk, bytes.length - done),
      start + done,
    );
    if (bytesRead === 0) throw new Error("the file became shorter while it was read");
    done += bytesRead;
  }
  return bytes;
}

/** Relative paths of all files under `root`, with `/`, sorted; symbolic links are followed. */
async function listFolder(root: string, location: string): Promise<readonly string[]> {
  const paths: string[] = [];
  async function visit(folder: string, depth: number): Promise<void> {
    for (const name of (await readdir(join(root, folder))).sort()) {
      if (name.startsWith(".")) continue;
      const path = folder === "" ? name : `${folder}/${name}`;
      const facts = await stat(join(root, path)).catch(() => null); // a link to nothing is no file
      if (facts?.isDirectory() === true && depth < maxDepth) await visit(path, depth + 1);
      if (facts?.isFile() !== true) continue;
      paths.push(path);
      check(paths.length <= maxFiles, "E_FILE", () => ({
        where: location,
        expected: `a model folder of at most ${maxFiles} files`,
        got: "more",
      }));
    }
  }
  try {
    await visit("", 0);
  } catch (error) {
    throw fileError("E_FILE", location, "a folder that can be read", error);
  }
  return paths;
}

/** What is written: all at once, or piece by piece. */
export type Content = string | Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

let temporaryCount = 0;

/** A name beside `path` that no other process or call uses. */
const temporaryName = (path: string): string =>
  join(dirname(path), `.${basename(path)}.${process.pid}-${temporaryCount++}.tmp`);

/** What to throw for a failed read of a file that is there. */
export const inputError = (path: string, error: unknown): KoalaError =>
  fileError("E_FILE", path, "a file that can be read", error);

/** What to throw for a failed write: E_DISK, E_OUTPUT, or `error` itself where it is none of the system's. */
export function outputError(path: string, error: unknown): unknown {
  const system = systemCode(error);
  if (system === null) return error;
  if (system === "ENOSPC" || system === "EDQUOT") {
    return fileError("E_DISK", path, "room on the disk", error, "Free some space, or write somewhere else.");
  }
  // where the folder is there all the same, it is one that takes no files, such as /proc
  if (system === "ENOENT" && !existsSync(dirname(path))) {
    return fileError(
      "E_OUTPUT",
      path,
      `a folder ${dirname(path)} to write into`,
      error,
      `Make it first: mkdir -p ${shellWord(dirname(path))}`,
    );
  }
  const got = system === "ENOENT" ? "a folder that takes none" : error;
  return fileError("E_OUTPUT", path, "a file that can be written", got);
}

/**
 * Writes a file under a temporary name and gives it its own at the end, so that nobody ever sees a part of it.
 * @throws KoalaError E_DISK when the disk is full, E_OUTPUT when the place cannot be written
 */
export async function writeAtomically(path: string, content: Content): Promise<void> {
  const temporary = temporaryName(path);
  try {
    const handle = await open(temporary, "wx");
    try {
      const pieces = typeof content === "string" || content instanceof Uint8Array ? [content] : content;
      for await (const piece of pieces) await handle.writeFile(piece);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw outputError(path, error);
  }
}

/**
 * Finds out, before work starts, whether a file can be written there; leaves nothing behind.
 * @throws KoalaError E_OUTPUT, E_DISK
 */
export async function checkWritable(path: string): Promise<void> {
  const existing = await stat(path).catch(() => null);
  check(existing?.isDirectory() !== true, "E_OUTPUT", () => ({
    where: path,
    expected: "a file name to write to",
    got: "a folder",
    hint: `Give a file in it: ${join(path, "image.png")}`,
  }));
  const probe = temporaryName(path);
  try {
    if (existing !== null) await access(path, constants.W_OK);
    await (await open(probe, "wx")).close();
    await unlink(probe);
  } catch (error) {
    throw outputError(path, error);
  }
}

/**
 * Makes a folder to write files into, with those above it; an existing one must be empty unless `mayHaveFiles`.
 * @throws KoalaError E_OUTPUT, E_DISK
 */
export async function makeFolder(path: string, o: { mayHaveFiles?: boolean } = {}): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
    const files = await readdir(path);
    check(o.mayHaveFiles === true || files.length === 0, "E_OUTPUT", () => ({
      where: path,
      expected: "an empty folder, or none yet",
      got: `${files.length} files, such as ${files[0]}`,
    }));
    await access(path, constants.W_OK);
  } catch (error) {
    if (error instanceof KoalaError) throw error;
    throw systemCode(error) === "EEXIST"
      ? fileError("E_OUTPUT", path, "a folder", Object.assign(new Error("not a folder"), { code: "ENOTDIR" }))
      : outputError(path, error);
  }
}

/** Whether a process of that number runs here; one that may not be signalled does. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
