// What a site says of a model that it offers: the files with sizes and SHA-256, as `koala-files.json` beside them.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";

/** Files that a model's folder has for people. */
const isForPeople = (path) =>
  /\.(md|png|jpg|webp)$/i.test(path) || path.startsWith(".") || path === "koala-files.json";

async function sha256(path) {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece);
  return hash.digest("hex");
}

/** `folder` → the list, in order of the paths. */
export async function listModel(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .filter((path) => !isForPeople(path))
    .sort();
  const files = [];
  for (const path of paths) {
    const file = join(folder, path);
    files.push({ path, size: (await stat(file)).size, sha256: await sha256(file) });
  }
  return { files };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  console.log(JSON.stringify(await listModel(process.argv[2] ?? "."), null, 2));
