/** Making a folder that is there whole or not at all: it grows under another name, and Ctrl-C or an error leaves nothing. */

import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { check } from "../../core/assert.ts";
import { outputError } from "../files.ts";
import { checkRoom } from "./commands/init.ts";

/** @throws KoalaError E_OUTPUT when there is something of that name */
export function checkFree(target: string): void {
  check(!existsSync(target), "E_OUTPUT", () => ({
    where: target,
    expected: "a name that is free",
    got: "a file or folder that is there",
    hint: "Nothing is ever overwritten: remove it first, or choose another name.",
  }));
}

/**
 * Makes `target`, with what `fill` puts into it, which may take `bytes`. What `fill` throws leaves nothing behind.
 * @throws KoalaError E_OUTPUT, E_DISK
 */
export async function makeNewFolder(
  target: string,
  bytes: number,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  let partial: string | undefined;
  try {
    checkFree(target);
    await mkdir(dirname(resolve(target)), { recursive: true });
    partial = await mkdtemp(`${resolve(target)}.partial-`);
    await checkRoom(partial, bytes, target);
    await fill(partial);
    await chmod(partial, 0o755); // mkdtemp keeps others out
    await rename(partial, target);
  } catch (cause) {
    if (partial !== undefined) await rm(partial, { recursive: true, force: true });
    throw outputError(target, cause);
  }
}
