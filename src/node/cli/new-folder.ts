/** Making a folder that is there whole or not at all: it grows under another name, and Ctrl-C or an error leaves nothing. */

import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm, statfs } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { check } from "../../core/assert.ts";
import { outputError } from "../files.ts";
import { bytes } from "./units.ts";

/** @throws KoalaError E_OUTPUT when there is something of that name */
export function checkFree(target: string): void {
  check(target !== "", "E_OUTPUT", () => ({
    where: "the output",
    expected: "a name for the folder",
    got: "an empty one",
  }));
  check(!existsSync(target), "E_OUTPUT", () => ({
    where: target,
    expected: "a name that is free",
    got: "a file or folder that is there",
    hint: "Nothing is ever overwritten: remove it first, or choose another name.",
  }));
}

/** @throws KoalaError E_DISK, for `target`, when fewer than `needed` bytes are free where `folder` is */
export async function checkRoom(folder: string, needed: number, target: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  check(free >= needed, "E_DISK", () => ({
    where: target,
    expected: `${bytes(needed)} of free space`,
    got: bytes(free),
    hint: "Free some space, or write somewhere else.",
  }));
}

/**
 * Makes `target`, with what `fill` puts into it, which may take `size` bytes. What `fill` throws leaves nothing behind.
 * @throws KoalaError E_OUTPUT, E_DISK
 */
export async function makeNewFolder(
  target: string,
  size: number,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  let partial: string | undefined;
  try {
    checkFree(target);
    await mkdir(dirname(resolve(target)), { recursive: true });
    partial = await mkdtemp(`${resolve(target)}.partial-`);
    await checkRoom(partial, size, target);
    await fill(partial);
    await chmod(partial, 0o755); // mkdtemp keeps others out
    await rename(partial, target);
  } catch (cause) {
    if (partial !== undefined) await rm(partial, { recursive: true, force: true });
    throw outputError(target, cause);
  }
}
