/** Where compiled programs are kept when a user asks for it: a folder of ours in the user's cache. */

import { homedir } from "node:os";
import { join } from "node:path";

/** By the XDG base directory specification, version 0.8: `$XDG_CACHE_HOME`, or `~/.cache` where that is not set. */
export const programFolder = (env: NodeJS.ProcessEnv = process.env): string =>
  join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "koala-diffusion", "programs");
