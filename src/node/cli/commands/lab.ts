/** `koala lab`: a study of the paper's lessons, arm by arm, with its page; the same command goes on with it. */

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { KoalaError } from "../../../core/errors.ts";
import { captionFields } from "../../../train/data/record.ts";
import { optimizerNames, trainingPrecisions } from "../../../train/run-fields.ts";
import { realBench } from "../../lab/bench.ts";
import { teacherFacts } from "../../lab/facts.ts";
import { type Outcome, runStudy } from "../../lab/lab.ts";
import type { Settings } from "../../lab/plan.ts";
import { checkTeacher, studies, studyOf } from "../../lab/studies.ts";
import type { Study } from "../../lab/study.ts";
import { commandLine } from "../command-line.ts";
import { oneOf, threadsFrom } from "../flags.ts";
import { numberOf, real, whole } from "../numbers.ts";
import { packageRoot, packageVersion } from "../package.ts";
import { printable, table } from "../tables.ts";
import { trainingProgress } from "../training-progress.ts";
import { interrupted, type World } from "../world.ts";

/** Made for koala-emoji; other models want others. */
const defaults = {
  teacher: join(packageRoot, "scripts", "emoji", "trained", "teacher"),
  scorer: join(packageRoot, "scripts", "emoji", "trained", "scorer"),
  data: "emoji-data",
  seeds: 3,
  batch: 8,
  rate: 5e-4, // AdamW's: by 1e-3 the losses of koala-emoji's students had spikes
  count: 64,
  ways: 32,
  group: "group",
} as const;

/** koala-emoji's data first, then the usual names. */
const usualCaptions = ["captions", ...captionFields];

interface Options {
  readonly list?: true;
  readonly out?: string;
  readonly seeds?: string;
  readonly budget?: string;
  readonly plan?: true;
  readonly full?: true;
  readonly arms?: string;
  readonly teacher?: string;
  readonly data?: string;
  readonly split?: string;
  readonly scorer?: string;
  readonly captions?: string;
  readonly group?: string;
  readonly balance?: string;
  readonly steps?: string;
  readonly batch?: string;
  readonly rate?: string;
  readonly optimizer?: string;
  readonly count?: string;
  readonly ways?: string;
  readonly engine?: string;
  readonly precision?: string;
  readonly threads?: string;
  readonly offline?: true;
  readonly json?: true;
  readonly quiet?: true;
}

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("[STUDY]", `one of ${studies.map(({ name }) => name).join(", ")}`)
    .option("--list", "tell what each study asks, and stop")
    .option("--out <DIR>", "folder of the study; the same command goes on with what is there")
    .option("--seeds <N>", `times that each arm is trained (default ${defaults.seeds})`)
    .option("--budget <TIME>", "most time for all, such as 20m or 1h30m: fewer steps, which the page says")
    .option("--plan", "say what the study costs, by a short timing, and stop")
    .option("--full", "all arms, also those that the paper does not have")
    .option(
      "--arms <NAMES>",
      "only these, such as sa,lf, and the one without distillation (--plan names them)",
    )
    .option("--teacher <MODEL>", "model folder or hub id that is distilled (default: koala-emoji's)")
    .option(
      "--data <PATH>",
      `captions with pictures, to learn from and to judge by (default: ${defaults.data}, as scripts/emoji/data.js makes it)`,
    )
    .option(
      "--split <NAME>",
      "folder within --data to learn from and to judge by (default: train, where there is one)",
    )
    .option("--scorer <DIR|HUB_ID>", "a CLIPModel of transformers to judge by (default: koala-emoji's)")
    .option("--captions <FIELD>", "field of the data that holds the captions (default: the usual ones)")
    .option("--group <FIELD>", `field that R-precision takes other captions by (default ${defaults.group})`)
    .option("--balance <FIELD>", "field to balance drawing in training by")
    .option("--steps <N>", "of each run, before the budget (default: the study's, for koala-emoji)")
    .option("--batch <N>", `pictures a step (default ${defaults.batch})`)
    .option(
      "--rate <N>",
      `highest learning rate of distillation (default ${defaults.rate}, for small models)`,
    )
    .option(
      "--optimizer <NAME>",
      `how weights move in all runs: ${optimizerNames.join(", ")} (default adamw)`,
    )
    .option("--count <N>", `captions that each arm draws, before the budget (default ${defaults.count})`)
    .option("--ways <K>", `captions that R-precision chooses from (default ${defaults.ways})`)
    .option("--engine <NAME>", "what computes; koala engines lists them")
    .option("--precision <NAME>", "what it computes in: f32 or bf16 (default f32)")
    .option("--threads <N>", "threads that compute (default: one a core)")
    .option("--offline", "use only what is on this machine")
    .option("--json", "print the numbers as one JSON object")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (name: string | undefined, o: Options) =>
      finish(o.list === true ? listed(world) : await run(name, o, command, world)),
    );
}

function listed(world: World): number {
  for (const { name, question, paper } of studies)
    world.stdout.write(`${name}\n  ${question}\n  In the paper: ${paper.where}.\n\n`);
  world.stdout.write("koala lab STUDY --out DIR runs one; --plan says what it would cost.\n");
  return 0;
}

/** Seconds of "90s", "20m", "1h30m". @throws KoalaError E_FLAG */
export function budgetOf(text: string): number {
  const [whole, h, m, s] =
    /^(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?$/.exec(text) ?? [];
  const all = Number(h ?? 0) * 3600 + Number(m ?? 0) * 60 + Number(s ?? 0);
  check(whole !== undefined && all > 0, "E_FLAG", () => ({
    where: "--budget",
    expected: "a time such as 90s, 20m or 1h30m",
    got: JSON.stringify(text),
  }));
  return all;
}

/** @throws KoalaError E_FLAG for a name or number that it may not be, or data and scorer that are not there and not named */
function settingsOf(study: Study, o: Options): Settings {
  const data = o.data ?? defaults.data;
  check(o.data !== undefined || existsSync(data), "E_FLAG", () => ({
    where: "--data",
    expected: "captions with pictures",
    got: `nothing, and there is no ${defaults.data} here`,
    hint: `node scripts/emoji/data.js ${defaults.data} makes koala-emoji's.`,
  }));
  check(o.scorer !== undefined || existsSync(defaults.scorer), "E_FLAG", () => ({
    where: "--scorer",
    expected: "a CLIP to judge by",
    got: "nothing, and koala-emoji's is not in this installation",
  }));
  const isEmoji = o.data === undefined;
  return {
    ...{ study: study.name, teacher: o.teacher ?? defaults.teacher, data },
    split: o.split ?? (existsSync(join(data, "train")) ? "train" : ""),
    scorer: o.scorer ?? defaults.scorer,
    captions: o.captions === undefined ? usualCaptions : [o.captions],
    group: o.group ?? defaults.group,
    balance: o.balance ?? (isEmoji ? "base" : null),
    seeds: numberOf("--seeds", o.seeds, defaults.seeds, whole(1, 100)),
    budget: o.budget === undefined ? null : budgetOf(o.budget),
    steps: numberOf("--steps", o.steps, study.steps, whole(1, 1e7)),
    batch: numberOf("--batch", o.batch, defaults.batch, whole(1, 65_536)),
    rate: numberOf("--rate", o.rate, defaults.rate, real(1e-9, 1)),
    optimizer: oneOf("--optimizer", o.optimizer ?? "adamw", optimizerNames),
    count: numberOf("--count", o.count, defaults.count, whole(2, 1e6)),
    ways: numberOf("--ways", o.ways, defaults.ways, whole(2, 1e4)),
    isFull: o.full === true,
    arms: o.arms === undefined ? null : [...new Set(o.arms.split(",").map((name) => name.trim()))],
    engine: o.engine ?? "auto",
    precision: oneOf("--precision", o.precision ?? "f32", trainingPrecisions),
    threads: threadsFrom(o.threads) ?? null,
  };
}

/** `koala cut` with these arguments, its map unsaid. */
async function cut(argv: readonly string[], o: Options, world: World): Promise<void> {
  const { define: defineCut } = await import("./cut.ts");
  const silent = new Writable({ write: (_, __, done) => done() });
  const command = new Command("cut").exitOverride();
  defineCut(command, { ...world, stdout: silent }, () => {});
  const more = ["--quiet", ...(o.offline === true ? ["--offline"] : [])];
  await command.parseAsync([...argv, ...more], { from: "user" });
}

async function run(name: string | undefined, o: Options, command: Command, world: World): Promise<number> {
  check(name !== undefined, "E_FLAG", () => ({
    where: "STUDY",
    expected: `one of ${studies.map((study) => study.name).join(", ")}`,
    got: "nothing",
    hint: "koala lab --list tells what each asks.",
  }));
  const study = studyOf(name);
  const settings = settingsOf(study, o);
  const { out } = o;
  check(out !== undefined, "E_FLAG", () => ({
    where: "--out",
    expected: "a folder for the study",
    got: "nothing",
    hint: "koala lab --help lists what it takes.",
  }));
  const progress = trainingProgress(world.stderr, o.quiet === true);
  const stop = new AbortController();
  const ignoreInterrupt = world.onInterrupt(() => {
    progress.note("stops after this step; a second Ctrl-C ends at once");
    stop.abort();
  });
  try {
    const hosted = { isOffline: o.offline === true, signal: stop.signal };
    const facts = await teacherFacts(await world.openModel(settings.teacher, hosted));
    checkTeacher(study, settings.teacher, facts);
    check(existsSync(settings.data), "E_FLAG", () => ({
      where: "--data",
      expected: "captions with pictures",
      got: `${settings.data}, where there is nothing`,
    }));
    const outcome = await runStudy({
      ...{ study, facts, settings, out, version: packageVersion() },
      command: commandLine("lab", [name], command),
      isPlanOnly: o.plan === true,
      note: (line) => progress.note(line),
      bench: (count) =>
        realBench({
          ...{ ...hosted, settings: { ...settings, count }, out, world, version: packageVersion() },
          watch: progress,
          cut: (argv) => cut(argv, o, world),
        }),
    });
    progress.end();
    if (outcome !== null) await tell(outcome, o, world);
    return 0;
  } catch (error) {
    progress.end();
    if (!stop.signal.aborted || error instanceof KoalaError) throw error;
    progress.note("Stopped; what is done is kept, and the same command goes on.");
    return interrupted;
  } finally {
    ignoreInterrupt();
  }
}

/** Scores and verdict, or all numbers as JSON. */
async function tell({ page, numbers, rows, verdict }: Outcome, o: Options, world: World): Promise<void> {
  if (o.json === true) {
    const all: unknown = JSON.parse(await readFile(numbers, "utf8"));
    world.stdout.write(`${JSON.stringify(all)}\n`);
    return;
  }
  world.stdout.write(printable(`${table(rows)}\n${verdict.sentence}\n`));
  world.stdout.write(`${page}\n`);
}
