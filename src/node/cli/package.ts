/** The package that this file is part of: where it lies, which version it is, and the model that comes along. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder with models and package.json; as far from `dist/node/cli` as from `src/node/cli`. */
export const packageRoot: string = fileURLToPath(new URL("../../../", import.meta.url));

/** What a user calls the model that is taken where none is named; also the name of its folder. */
export const usualModelName = "koala-emoji";
export const usualModel: string = join(packageRoot, "models", usualModelName);

export function packageVersion(): string {
  return (JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as { version: string }).version;
}
