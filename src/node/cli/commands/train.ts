/** `koala train`: a U-Net, a transformer, an autoencoder or CLIP's encoders learn from a data set. */

import { type Command, Option } from "commander";
import { check } from "../../../core/assert.ts";
import { parseRun, type RunKind } from "../../../train/config.ts";
import { type Communicator, together } from "../../../train/parallel.ts";
import { readModelIndex } from "../../../weights/layout.ts";
import { startRun } from "../../runs/execute.ts";
import { withProcesses } from "../processes.ts";
import { addRunFlags, runFlagOf, runInput } from "../run-flags.ts";
import { type TrainingOptions, training } from "../training.ts";
import type { World } from "../world.ts";

/** What this command trains, by `--part`; a student by its teacher is another command's. */
const kinds = ["unet", "transformer", "vae", "clip"] as const satisfies readonly RunKind[];

interface Options extends TrainingOptions {
  readonly out?: string;
  readonly part?: string;
}

/** @throws KoalaError E_FLAG when no folder is named */
export function outOf({ out }: Options, command: string): string {
  check(out !== undefined, "E_FLAG", () => ({
    where: "--out",
    expected: "a new folder for the run",
    got: "nothing",
    hint: `koala ${command} --help lists what it takes.`,
  }));
  return out;
}

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("[RUN.yaml]", "fields of the run; flags go over them")
    .option("--out <DIR>", "the run's folder, which must be new or empty");
  command.addOption(
    new Option(
      "--part <PART>",
      "what is trained, where RUN.yaml names no kind (default: what the model draws with)",
    ).choices(kinds),
  );
  addRunFlags(command, kinds);
  command
    .option("--offline", "use only what is on this machine")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (file: string | undefined, o: Options) =>
      finish(await withProcesses(world, (own, job) => train(file, o, own, job))),
    );
}

async function train(
  file: string | undefined,
  o: Options,
  world: World,
  communicator: Communicator,
): Promise<number> {
  const { run, out } = await together(communicator, async () => {
    const input = await runInput(file, { ...o }, kinds);
    const kind = o.part ?? input.kind ?? (await drawingPart(input.model, o, world));
    return { run: parseRun({ ...input, kind }, runFlagOf), out: outOf(o, "train") };
  });
  return training((options) => startRun(run, out, options), out, o, world, communicator);
}

/** What the model draws with: that is trained where nobody says. @throws KoalaError as opening the model does */
async function drawingPart(model: unknown, { offline }: Options, world: World): Promise<RunKind> {
  if (typeof model !== "string") return "unet"; // whose schema then asks for the model
  const files = await world.openModel(model, { isOffline: offline === true });
  const index = await readModelIndex(files);
  return index?.components.has("transformer") === true ? "transformer" : "unet";
}
