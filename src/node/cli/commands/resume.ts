/** `koala resume`: a run goes on from its last checkpoint, as if it had never been interrupted. */

import type { Command } from "commander";
import type { RunEnd } from "../../../train/run.ts";
import { mostSteps } from "../../../train/run-fields.ts";
import { type ExecuteOptions, resumeRun } from "../../runs/execute.ts";
import { numberOf, whole } from "../numbers.ts";
import { withProcesses } from "../processes.ts";
import { type TrainingOptions, training } from "../training.ts";
import type { World } from "../world.ts";

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("<RUN>", "the run's folder")
    .option(
      "--steps <N>",
      "steps of the whole run: others than it began with, to end it sooner or go on longer",
    )
    .option("--offline", "use only what is on this machine")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (folder: string, o: TrainingOptions & { readonly steps?: string }) => {
      const steps = numberOf("--steps", o.steps, undefined, whole(1, mostSteps));
      const run = (options: ExecuteOptions): Promise<RunEnd> => resumeRun(folder, options, steps);
      finish(await withProcesses(world, (own, job) => training(run, folder, o, own, job)));
    });
}
