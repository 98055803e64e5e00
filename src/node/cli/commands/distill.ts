/** `koala distill`: a student learns from its teacher, feature by feature, or to draw in few steps. */

import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { nearest } from "../../../core/nearest.ts";
import { parseRun, type Run, type RunKind } from "../../../train/config.ts";
import { type Communicator, together } from "../../../train/parallel.ts";
import { startRun } from "../../runs/execute.ts";
import { withProcesses } from "../processes.ts";
import { addRunFlags, runFlagOf, runInput } from "../run-flags.ts";
import { type TrainingOptions, training } from "../training.ts";
import type { World } from "../world.ts";
import { outOf } from "./train.ts";

/** What this command runs, by `--method`; `sa` is KOALA's own, and has other features too. */
const kinds = ["distill", "consistency"] as const satisfies readonly RunKind[];
const methods = { sa: "distill", pcm: "consistency", lcm: "consistency" } as const satisfies Readonly<
  Record<string, (typeof kinds)[number]>
>;
const methodNames = Object.keys(methods);

interface Options extends TrainingOptions {
  readonly out?: string;
  readonly method?: string;
}

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("[RUN.yaml]", "fields of the run; flags go over them")
    .option("--out <DIR>", "the run's folder, which must be new or empty")
    .option(
      "--method <NAME>",
      "how the student learns: by features such as self-attention (sa, the default), or to draw in few steps (pcm, lcm)",
    );
  addRunFlags(command, kinds, ([kind]) =>
    kind === "distill" ? "With --method sa:" : "With --method pcm or lcm:",
  );
  command
    .option("--offline", "use only what is on this machine")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (file: string | undefined, o: Options) =>
      finish(await withProcesses(world, (own, job) => distill(file, o, own, job))),
    );
}

const isMethod = (name: unknown): name is keyof typeof methods => methodNames.includes(name as string);

async function distill(
  file: string | undefined,
  o: Options,
  world: World,
  communicator: Communicator,
): Promise<number> {
  const { run, out } = await together(communicator, async () => ({
    run: await runOf(file, o),
    out: outOf(o, "distill"),
  }));
  return training((options) => startRun(run, out, options), out, o, world, communicator);
}

async function runOf(file: string | undefined, o: Options): Promise<Run> {
  const { method = "sa", ...input } = await runInput(file, { ...o }, kinds);
  check(isMethod(method), "E_CONFIG", () => {
    const near = typeof method === "string" ? nearest(method, methodNames) : [];
    return {
      where: "--method",
      expected: `one of ${methodNames.join(", ")}`,
      got: JSON.stringify(method),
      ...(near.length === 0 ? {} : { hint: `Did you mean ${near.join(" or ")}?` }),
    };
  });
  const kind = methods[method];
  return parseRun({ kind, ...input, ...(kind === "consistency" ? { method } : {}) }, runFlagOf);
}
