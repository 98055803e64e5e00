/** Work that Ctrl-C may end. */

import type { Progress } from "./progress.ts";
import { interrupted, type World } from "./world.ts";

/**
 * Does `work`, whose signal aborts on Ctrl-C, and gives the exit code. What an aborted one throws is its end: `left` says what
 * the user has of it. Whatever else it throws goes on.
 */
export async function interruptible(
  world: World,
  progress: Pick<Progress, "end" | "note">,
  left: string,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<number> {
  const stop = new AbortController();
  const ignoreInterrupt = world.onInterrupt(() => stop.abort());
  try {
    await work(stop.signal);
    return 0;
  } catch (error) {
    progress.end();
    if (!stop.signal.aborted) throw error;
    progress.note(left);
    return interrupted;
  } finally {
    ignoreInterrupt();
  }
}
