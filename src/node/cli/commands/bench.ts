/** `koala bench`: how fast and how small, on this machine, beside what else could be installed. */

import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { anyPreset } from "../../../models/pixart-presets.ts";
import { host } from "../../../runtime/host.ts";
import {
  type Against,
  type Bench,
  type BenchOptions,
  type OwnEngine,
  questionNames,
} from "../../bench/bench.ts";
import { runChild } from "../../bench/child.ts";
import { type Contest, compete } from "../../bench/contest.ts";
import { type Machine, machineOf, machineText } from "../../bench/machine.ts";
import { measureModels, modelsChart, modelsRemark, modelsTable, zoo } from "../../bench/models.ts";
import {
  findPython,
  type PrecisionName,
  peerNames,
  peers,
  precisionNames,
  prefixOf,
  pythonPaths,
} from "../../bench/peers.ts";
import { checkQualityModels, measureQuality, qualityChart, qualityTable } from "../../bench/quality.ts";
import { image, load, memory, type Question, trainStep, unet } from "../../bench/questions.ts";
import {
  barChart,
  jsonOf,
  markdownOf,
  missingSentences,
  ratioTables,
  standingsTable,
  type Table,
} from "../../bench/report.ts";
import { measureServer, serveTable } from "../../bench/serve.ts";
import { checkQuantized } from "../../bench/subject.ts";
import { physicalCores } from "../../cores.ts";
import { makeFolder, writeAtomically } from "../../files.ts";
import { programFolder } from "../../program-folder.ts";
import { memoryFrom, oneOf, someOf, threadsFrom } from "../flags.ts";
import { interruptible } from "../interruptible.ts";
import { numberOf, whole } from "../numbers.ts";
import { packageRoot, packageVersion } from "../package.ts";
import { progressFor } from "../progress.ts";
import { printable, table } from "../tables.ts";
import type { World } from "../world.ts";

interface Options {
  readonly against?: string;
  readonly engine?: string;
  readonly precision?: string;
  readonly size?: string;
  readonly steps?: string;
  readonly rounds?: string;
  readonly warmUp?: string;
  readonly threads?: string;
  readonly memory?: string;
  readonly quantized?: readonly string[];
  readonly prompts?: string;
  readonly count?: string;
  readonly scorer?: string;
  readonly python?: string;
  readonly cache?: string;
  readonly out: string;
  readonly json?: true;
  readonly quiet?: true;
}

/** Enough for a median that one disturbed round does not move. */
const usualRounds = 3;
const usualOut = "koala-bench";

const help = `
Questions:
  image       process start to PNG (default), of koala-emoji
  unet        seconds a forward of the U-Net, of koala-700m
  load        process start until the first step begins, when it is not the first start
  memory      peak memory of a whole picture, with and without budgets
  models      KOALA's figure: seconds and memory of every preset, at its own steps and guidance
  quality     QUANTIZED... MODEL: pictures in integers against those in floats
  train-step  seconds a training step
  serve       the server beside the library, and under many clients; of koala-emoji
MODEL is a folder, or a preset, which gets random weights: they are as fast as trained ones.

Examples:
  koala bench
  koala bench unet --size 512 --precision int8 --against openvino,diffusers:bf16
  koala bench image koala-lightning-700m --size 1024 --precision int8
  koala bench quality emoji-int8 models/koala-emoji --scorer scripts/emoji/trained/scorer`;

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("[QUESTION]", `one of ${questionNames.join(", ")}`, "image")
    .argument("[MODEL...]", "what to measure (default: the question's own)")
    .option(
      "--against <NAMES>",
      `peers in the same run: some of ${peerNames.join(", ")}, each as it is or in one precision (openvino:int8), or none (default: those that are installed)`,
    )
    .option("--engine <NAMES>", "our engines (default: ort, and openvino where it is here)")
    .option("--precision <NAMES>", `some of ${precisionNames.join(", ")} (default: what each has)`)
    .option(
      "--size <PX>",
      "side of the picture; several for unet (default: the model's own, 512 at most for unet)",
    )
    .option(
      "--steps <N>",
      "steps of a picture (default: the model's own), or forwards that count (default 3)",
    )
    .option("--rounds <N>", `how often each runs (default ${usualRounds})`)
    .option("--warm-up <N>", "rounds before those that count (default: 1 where a second start is meant)")
    .option("--threads <N>", "threads that compute, of all contenders (default: one a core)")
    .option("--memory <SIZES>", "budgets for memory, such as 2GB,4GB")
    .option("--quantized <DIR...>", "what koala quantize made of MODEL (default: made now, and kept)")
    .option("--prompts <FILE>", "prompts for quality, one a line (default: 64 that come along)")
    .option("--count <N>", "how many of them")
    .option("--scorer <DIR>", "a CLIP for quality: R-precision too")
    .option("--python <FILE>", "the Python that has the peers (default: .venv here, the active one, python3)")
    .option("--cache <DIR>", "where made and converted models are kept (default: the user's cache folder)")
    .option("--out <DIR>", "where numbers, tables and charts go", usualOut)
    .option("--json", "print everything as one JSON object")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .addHelpText("after", help)
    .action(async (question: string, models: string[], o: Options) =>
      finish(await bench(question, models, o, world)),
    );
}

/** Sides of pictures: "512", "512,1024". @throws KoalaError E_FLAG */
function sizesFrom(text: string | undefined): number[] | undefined {
  return text?.split(",").map((part) => {
    const size = Number(part);
    check(
      part.trim() !== "" && Number.isInteger(size) && size >= 8 && size <= 4096 && size % 8 === 0,
      "E_FLAG",
      () => ({
        where: "--size",
        expected: "a multiple of 8 from 8 to 4096 (px), or several with commas",
        got: JSON.stringify(text),
      }),
    );
    return size;
  });
}

/** "diffusers", "openvino:int8", …; "none". @throws KoalaError E_FLAG, also for a precision that the peer has not */
function againstFrom(text: string | undefined): Against[] | undefined {
  if (text === "none") return [];
  return text?.split(",").map((part) => {
    const [name = "", precision] = part.trim().split(":");
    const peer = oneOf("--against", name, peerNames);
    if (precision === undefined) return { peer };
    return { peer, precision: oneOf(`--against ${name}`, precision, peers[peer].precisions) };
  });
}

/** What was asked, checked before anything is loaded. @throws KoalaError E_FLAG */
function optionsFrom(
  models: readonly string[],
  o: Options,
): Omit<BenchOptions, "against"> & { against?: Against[] } {
  const engines = o.engine?.split(",").map((name) => name.trim());
  const precisions: PrecisionName[] | undefined = someOf("--precision", o.precision, precisionNames);
  const budgets = o.memory?.split(",").map((size) => size.trim());
  for (const size of budgets ?? []) memoryFrom(size);
  const sizes = sizesFrom(o.size);
  const steps = numberOf("--steps", o.steps, undefined, whole(1, 1000));
  const rounds = numberOf("--rounds", o.rounds, undefined, whole(1, 100));
  const warmUps = numberOf("--warm-up", o.warmUp, undefined, whole(0, 100));
  const count = numberOf("--count", o.count, undefined, whole(2, 100_000));
  const against = againstFrom(o.against);
  return {
    ...{ models, threads: threadsFrom(o.threads) ?? physicalCores(), quantized: o.quantized ?? [] },
    ...(against === undefined ? {} : { against }),
    ...(engines === undefined ? {} : { engines }),
    ...(precisions === undefined ? {} : { precisions }),
    ...(budgets === undefined ? {} : { budgets }),
    ...(sizes === undefined ? {} : { sizes }),
    ...(steps === undefined ? {} : { steps }),
    ...(rounds === undefined ? {} : { rounds }),
    ...(warmUps === undefined ? {} : { warmUps }),
    ...(count === undefined ? {} : { count }),
    ...(o.prompts === undefined ? {} : { prompts: o.prompts }),
    ...(o.scorer === undefined ? {} : { scorer: o.scorer }),
  };
}

/** The engines that were named, each of which must be here; or those of the CPU that are. */
async function ownEngines(named: readonly string[] | undefined): Promise<readonly OwnEngine[]> {
  const usual = ["ort", "openvino"];
  const here = (await host.engines()).filter(({ isAvailable }) => isAvailable).map(({ name }) => name);
  const engines: OwnEngine[] = [];
  for (const name of named ?? usual.filter((one) => here.includes(one))) {
    const { precisions = ["f32"] } = await host.engine(name);
    engines.push({ name, precisions });
  }
  return engines;
}

/** What a question came to: tables for people, data for programs, a picture of both. */
interface Result {
  readonly tables: readonly Table[];
  readonly remarks: readonly string[];
  readonly data: Readonly<Record<string, unknown>>;
  readonly chart: string | null;
}

async function bench(name: string, models: readonly string[], said: Options, world: World): Promise<number> {
  const question = oneOf("koala bench", name, questionNames);
  const parsed = optionsFrom(models, said);
  await checkQuantized(parsed.quantized);
  if (question === "models") for (const preset of models) anyPreset(preset);
  if (question === "quality") checkQualityModels(models);
  check(models.length <= 1 || question === "models" || question === "quality", "E_FLAG", () => ({
    where: `koala bench ${question}`,
    expected: "one model",
    got: models.join(" "),
  }));
  check(said.python === undefined || existsSync(said.python), "E_FLAG", () => ({
    where: "--python",
    expected: "the program of a Python",
    got: said.python ?? "",
    hint: "scripts/peers/install.sh makes one with the peers in .venv/bin/python.",
  }));
  const versions = join(packageRoot, "scripts", "peers", "versions.py");
  const paths = pythonPaths(said.python, process.env, [process.cwd(), packageRoot]);
  const python = findPython(paths, versions);
  // our engine openvino looks where the active environment is: the peers' OpenVINO serves both sides of a contest
  if (python !== null && "openvino" in python.versions) process.env.VIRTUAL_ENV ??= prefixOf(python);
  const engines = await ownEngines(parsed.engines);
  const details = Object.fromEntries(
    (await host.engines())
      .filter(({ isAvailable }) => isAvailable)
      .map(({ name: engine, detail }) => [engine, detail]),
  );
  const machine = machineOf({ root: packageRoot, version: packageVersion(), python, engines: details });

  const progress = progressFor(world.stderr, said.quiet === true);
  return interruptible(
    world,
    progress,
    "Stopped; what was made and converted is kept for the next time.",
    async (signal) => {
      await makeFolder(said.out, { mayHaveFiles: true });
      const temporary = await mkdtemp(join(tmpdir(), "koala-bench-"));
      try {
        const b: Bench = {
          o: { ...parsed, against: parsed.against ?? peerNames.map((peer) => ({ peer })) },
          ...{
            signal,
            root: packageRoot.replace(/[\\/]$/, ""),
            temporary,
            out: said.out,
            python,
            engines,
          },
          cache: resolve(said.cache ?? join(dirname(programFolder()), "bench")),
          version: packageVersion(),
          run: (command) => runChild(command, signal),
          note: (line) => progress.note(line),
          stage: (text) => progress.stage("bench", text),
          count: (label, done, total) => progress.count(label, done, total),
        };
        await mkdir(b.cache, { recursive: true });
        progress.note(`${machineText(machine)}; ${Object.values(details).join("; ")}`);
        const result = await answer(question, b, machine);
        progress.end();
        await tell(question, result, machine, said, world);
      } finally {
        await rm(temporary, { recursive: true, force: true });
        await rmdir(said.out).catch(() => {}); // empty only where nothing came of it
      }
    },
  );
}

async function answer(question: (typeof questionNames)[number], b: Bench, machine: Machine): Promise<Result> {
  switch (question) {
    case "unet":
      return contests(await unet(b), b);
    case "image":
      return contests(await image(b), b);
    case "load":
      return contests(await load(b), b);
    case "memory":
      return contests(await memory(b), b);
    case "train-step":
      return contests(await trainStep(b), b);
    case "models": {
      const { figures, missing } = await measureModels(b.o.models.length === 0 ? zoo() : b.o.models, b);
      const here = machineText(machine);
      return {
        tables: [modelsTable(figures, here)],
        remarks: [modelsRemark, ...missingSentences(missing)],
        data: { figures, missing },
        chart: await modelsChart(figures, here),
      };
    }
    case "quality": {
      const quality = await measureQuality(b);
      return {
        tables: [qualityTable(quality)],
        remarks: [
          "In brackets: the interval that holds the number in 95 of 100 repetitions with other prompts (bootstrap).",
        ],
        data: { ...quality },
        chart: await qualityChart(quality),
      };
    }
    case "serve": {
      const served = await measureServer(b);
      return { tables: [serveTable(served)], remarks: [], data: { ...served }, chart: null };
    }
  }
}

/** Runs the contests one after another. @throws KoalaError E_ENGINE where nobody took part */
async function contests(questions: readonly Question[], b: Bench): Promise<Result> {
  const done: [Question, Contest][] = [];
  for (const question of questions) {
    const rounds = b.o.rounds ?? usualRounds;
    const warmUps = b.o.warmUps ?? question.usualWarmUps;
    let over = 0;
    const contest = await compete(question.contenders, {
      ...{ rounds, warmUps },
      run: (command) => b.run(command),
      onRun(name, round) {
        const which = round < 1 ? "warm-up" : `round ${round} of ${rounds}`;
        b.count(`${which}: ${name}`, over++, question.contenders.length * (rounds + warmUps));
      },
    });
    done.push([question, contest]);
  }
  const missing = done.flatMap(([question, contest]) => [...question.missing, ...contest.missing]);
  check(
    done.some(([, { standings }]) => standings.length > 0),
    "E_ENGINE",
    () => ({
      where: "koala bench",
      expected: "at least one contender that runs",
      got: missingSentences(missing).join(" ") || "none that has such a precision",
    }),
  );
  return {
    tables: done.flatMap(([question, contest]) => [
      standingsTable(question, contest),
      ...ratioTables(question, contest),
    ]),
    remarks: [
      "Middle of all runs (least to most); ratios: middle of the rounds' own.",
      ...missingSentences(missing),
    ],
    data: { contests: done.map(([question, contest]) => jsonOf(question, contest)) },
    chart: await barChart(done),
  };
}

/** Writes QUESTION.json, .md and .svg into the folder, and prints the tables or the JSON. */
async function tell(question: string, r: Result, machine: Machine, o: Options, world: World): Promise<void> {
  const file = (end: string): string => join(o.out, `${question}.${end}`);
  const whole = { question, machine, options: o, ...r.data, remarks: r.remarks };
  const page = [
    `# koala bench ${question}`,
    `${machineText(machine)}. ${machine.date}. koala ${machine.koala}${machine.commit === null ? "" : ` (${machine.commit})`}, Node ${machine.node}.`,
    ...Object.values(machine.engines).map((line) => `- ${line}`),
    ...Object.entries(machine.peers).map(([name, version]) => `- ${name} ${version}`),
    ...r.tables.map((one) => `\n${markdownOf(one)}`),
    ...r.remarks.map((line) => `\n${line}`),
  ];
  await writeAtomically(file("json"), `${JSON.stringify(whole, null, 1)}\n`);
  await writeAtomically(file("md"), `${page.join("\n")}\n`);
  if (r.chart !== null) await writeAtomically(file("svg"), r.chart);
  if (o.json === true) {
    world.stdout.write(`${JSON.stringify(whole)}\n`);
    return;
  }
  for (const { title, rows } of r.tables) {
    const right = (rows[0] ?? []).map((_, i) => i).slice(1);
    world.stdout.write(printable(`${title}\n${table(rows, right)}\n`));
  }
  for (const line of o.quiet === true ? [] : r.remarks) world.stdout.write(`${printable(line)}\n`);
  const files = ["json", "md", ...(r.chart === null ? [] : ["svg"])].map(file);
  world.stdout.write(`${files.join("  ")}\n`);
}
