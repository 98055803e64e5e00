/** The package that this file is part of: where it lies and which version it is. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder with models and package.json; as far from `dist/node/cli` as from `src/node/cli`. */
export const packageRoot: string = fileURLToPath(new URL("../../../", import.meta.url));

export function packageVersion(): string {
  return (JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as { version: string }).version;
}
