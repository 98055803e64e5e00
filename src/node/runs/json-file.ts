/** A JSON file that a run's field names. */

import { basename, dirname } from "node:path";
import { readJson } from "../../weights/layout.ts";
import { openFolder } from "../files.ts";

/** @throws KoalaError E_FILE, E_CONFIG when it is not JSON */
export async function openModelFile(path: string): Promise<unknown> {
  return readJson(await openFolder(dirname(path)), basename(path));
}
