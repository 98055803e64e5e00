/** Brings dist/ up to date before any test runs: some tests start the built command, and examples import what is built. */

import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";

export function setup(): void {
  const root = resolve(import.meta.dirname, "..");
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const { stdout } = spawnSync(process.execPath, [tsc, "-b", root], { encoding: "utf8" });
  if (stdout !== "") console.error(stdout); // types are checked by `npm run types`; what can be tested still is
}
