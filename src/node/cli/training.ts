/** What `train`, `distill` and `resume` share: a run with its progress, Ctrl-C, and what is said at its end. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { KoalaError } from "../../core/errors.ts";
import type { Communicator } from "../../train/parallel.ts";
import type { RunEnd } from "../../train/run.ts";
import { type ExecuteOptions, isAbort } from "../runs/execute.ts";
import { trainingProgress } from "./training-progress.ts";
import { bytes } from "./units.ts";
import { interrupted, type World } from "./world.ts";

export interface TrainingOptions {
  readonly quiet?: true;
  readonly offline?: true;
}

/** What asks a run to stop: Ctrl-C; what mpirun makes of it, and batch systems send; and what mpirun passes on to all. */
const stops = ["SIGINT", "SIGTERM", "SIGUSR2"] as const;

/** Begins a run in the folder `path`, or goes on with it, as `run` does; gives the exit code. */
export async function training(
  run: (options: ExecuteOptions) => Promise<RunEnd>,
  path: string,
  o: TrainingOptions,
  world: World,
  communicator: Communicator,
): Promise<number> {
  const progress = trainingProgress(world.stderr, o.quiet === true);
  const stop = new AbortController();
  const ignoreInterrupt = world.onInterrupt(() => {
    progress.note("stops after this step; a second Ctrl-C ends at once");
    stop.abort();
  }, stops);
  const options: ExecuteOptions = {
    open: (location) => world.openModel(location, { isOffline: o.offline === true, signal: stop.signal }),
    watch: progress,
    signal: stop.signal,
    communicator,
  };
  try {
    const end = await run(options);
    progress.end();
    progress.note(`${bytes(process.resourceUsage().maxRSS * 1024)} of memory at most`);
    if (end === "stopped") {
      progress.note(`Stopped with a checkpoint; koala resume ${path} goes on.`);
      return interrupted;
    }
    world.stdout.write(`${join(path, "model")}\n`);
    return 0;
  } catch (error) {
    progress.end();
    const isStopped = stop.signal.aborted || isAbort(error); // by a signal here or, of a job, elsewhere
    if (!isStopped || error instanceof KoalaError) throw error;
    const isBegun = existsSync(join(path, "run.json"));
    progress.note(isBegun ? `Stopped; koala resume ${path} goes on.` : "Stopped before anything was made.");
    return interrupted;
  } finally {
    ignoreInterrupt();
  }
}
