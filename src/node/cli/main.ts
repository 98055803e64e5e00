/** The command line: finds the command, loads only that one, and turns what it throws into a sentence and an exit code. */

import { inspect } from "node:util";
import { Command } from "commander";
import { failureOf, unknownCommand } from "./failure.ts";
import { packageVersion } from "./package.ts";
import { printable } from "./tables.ts";
import { realWorld, type World } from "./world.ts";

interface Module {
  /** Gives the command its arguments, flags and action; the action resolves to the exit code. */
  define(command: Command, world: World, finish: (exitCode: number) => void): void;
}

interface Entry {
  readonly name: string;
  readonly summary: string;
  load(): Promise<Module>;
}

const entries: readonly Entry[] = [
  { name: "generate", summary: "draw pictures of a prompt", load: () => import("./commands/generate.ts") },
  {
    name: "inspect",
    summary: "show what is in a model, a preset or a picture",
    load: () => import("./commands/inspect.ts"),
  },
  {
    name: "init",
    summary: "write a model folder with random weights",
    load: () => import("./commands/init.ts"),
  },
  {
    name: "download",
    summary: "fetch a model from the hub into the cache",
    load: () => import("./commands/download.ts"),
  },
  {
    name: "analyze",
    summary: "look inside a model while it draws",
    load: () => import("./commands/analyze.ts"),
  },
  {
    name: "quantize",
    summary: "make a model smaller and faster",
    load: () => import("./commands/quantize.ts"),
  },
  { name: "cut", summary: "cut a student out of a teacher", load: () => import("./commands/cut.ts") },
  {
    name: "train",
    summary: "train a U-Net, a transformer, a VAE or CLIP on pictures",
    load: () => import("./commands/train.ts"),
  },
  {
    name: "distill",
    summary: "teach a student by its teacher",
    load: () => import("./commands/distill.ts"),
  },
  { name: "resume", summary: "go on with a run", load: () => import("./commands/resume.ts") },
  {
    name: "eval",
    summary: "score models: captions drawn, tables and a report",
    load: () => import("./commands/eval.ts"),
  },
  {
    name: "bench",
    summary: "measure speed, memory and quality, beside other programs",
    load: () => import("./commands/bench.ts"),
  },
  {
    name: "lab",
    summary: "run a study of the paper's lessons",
    load: () => import("./commands/lab.ts"),
  },
  { name: "runs", summary: "list training runs, or show one", load: () => import("./commands/runs.ts") },
  {
    name: "serve",
    summary: "offer models over HTTP, with a page in the browser",
    load: () => import("./commands/serve.ts"),
  },
  {
    name: "worker",
    summary: "draw for a server on any machine, through Redis",
    load: () => import("./commands/worker.ts"),
  },
  {
    name: "engines",
    summary: "list what can run a model on this machine",
    load: () => import("./commands/engines.ts"),
  },
];

const examples = `
Examples:
  koala generate "a red apple"
  koala generate "a fox in the snow" --model etri-vilab/koala-lightning-700m --seed 7
  koala inspect koala-a-red-apple-7.png`;

/** Runs one command line (without node and script) and resolves to the exit code; never throws. */
export async function main(argv: readonly string[], world: World = realWorld): Promise<number> {
  let exitCode = 0;
  const print = (text: string): void => void world.stdout.write(text);
  const program = new Command("koala")
    .description("Draws pictures with KOALA, SDXL and their relatives, straight from their safetensors.")
    .version(packageVersion(), "--version", "print the version")
    .helpOption("--help", "print this help")
    .addHelpText("after", examples)
    .showSuggestionAfterError(false)
    .exitOverride()
    .configureOutput({
      writeOut: print,
      writeErr() {}, // errors are said once, below
      getOutHelpWidth: () => Math.min((world.stdout as { columns?: number }).columns ?? 100, 110),
    });
  const wanted = argv[0] === "help" ? argv[1] : argv[0];
  let current = program;
  try {
    for (const entry of entries) {
      const sentence = `${entry.summary.charAt(0).toUpperCase()}${entry.summary.slice(1)}.`;
      const command = program.command(entry.name).summary(entry.summary).description(sentence);
      if (entry.name !== wanted) continue;
      current = command;
      (await entry.load()).define(command, world, (code) => {
        exitCode = code;
      });
    }
    if (wanted === undefined) program.help();
    const names = entries.map(({ name }) => name);
    if (wanted !== undefined && !wanted.startsWith("-") && !names.includes(wanted))
      throw unknownCommand(wanted, names);
    await program.parseAsync([...argv], { from: "user" });
  } catch (thrown) {
    const failure = failureOf(thrown, current);
    if (failure === null) return 0;
    const { error } = failure;
    const said = argv.includes("--verbose") ? inspect(error) : error.message;
    world.stderr.write(`${printable(said)}\n`);
    if (argv.includes("--json")) print(`${JSON.stringify({ error })}\n`);
    return failure.exitCode;
  }
  return exitCode;
}
