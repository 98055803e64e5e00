/** `koala resume`: a run goes on from its last checkpoint, as if it had never been interrupted. */

import type { Command } from "commander";
import { withProcesses } from "../processes.ts";
import { type TrainingOptions, training } from "../training.ts";
import type { World } from "../world.ts";

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("<RUN>", "the run's folder")
    .option("--offline", "use only what is on this machine")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (folder: string, o: TrainingOptions) =>
      finish(await withProcesses(world, (own, job) => training(null, folder, o, own, job))),
    );
}
