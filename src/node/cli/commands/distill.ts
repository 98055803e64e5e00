/** `koala distill`: a student learns from its teacher, feature by feature. */

import type { Command } from "commander";
import { parseRun } from "../../../train/config.ts";
import { addRunFlags, runFlagOf, runInput } from "../run-flags.ts";
import { type TrainingOptions, training } from "../training.ts";
import type { World } from "../world.ts";
import { outOf } from "./train.ts";

interface Options extends TrainingOptions {
  readonly out?: string;
}

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("[RUN.yaml]", "fields of the run; flags go over them")
    .option("--out <DIR>", "the run's folder, which must be new or empty");
  addRunFlags(command, ["distill"]);
  command
    .option("--offline", "use only what is on this machine")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (file: string | undefined, o: Options) => finish(await distill(file, o, world)));
}

async function distill(file: string | undefined, o: Options, world: World): Promise<number> {
  const input = await runInput(file, { ...o }, ["distill"]);
  const run = parseRun({ kind: "distill", ...input }, runFlagOf);
  return training(run, outOf(o, "distill"), o, world);
}
