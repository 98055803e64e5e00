/** `koala analyze`: what goes on inside a model while it draws, beside its students'. */

import type { Command } from "commander";
import { type AnalysisName, analyses, analyze } from "../../../analyze/analyze.ts";
import { check } from "../../../core/assert.ts";
import { nearest } from "../../../core/nearest.ts";
import { parseRequest } from "../../../pipeline/request.ts";
import type { Analyzed } from "../../analysis/write.ts";
import { digits } from "../../runs/report.ts";
import { commandLine } from "../command-line.ts";
import { addRequestFlags, flagOf, requestFromFlags, threadsFrom } from "../flags.ts";
import { interruptible } from "../interruptible.ts";
import { makeNewFolder } from "../new-folder.ts";
import { packageVersion } from "../package.ts";
import { progressFor } from "../progress.ts";
import { table } from "../tables.ts";
import { bytes as bytesText } from "../units.ts";
import type { World } from "../world.ts";

interface Options {
  readonly against?: readonly string[];
  readonly out?: string;
  readonly word?: string;
  readonly point: string;
  readonly only?: string;
  readonly engine: string;
  readonly threads?: string;
  readonly offline?: true;
  readonly quiet?: true;
}

/** Room that a report takes: its pictures, and some for the file system. */
const ROOM = 64 * 2 ** 20;

/** What says how the picture is drawn, for all models alike. */
const drawing = ["seed", "steps", "guidance", "width", "height"] as const;

function pointFrom(text: string): { x: number; y: number } {
  const [x = Number.NaN, y = Number.NaN, ...more] = text.split(",").map(Number);
  const isShare = (v: number): boolean => v >= 0 && v <= 1;
  check(isShare(x) && isShare(y) && more.length === 0, "E_FLAG", () => ({
    where: "--point",
    expected: "two shares from 0 to 1, such as 0.5,0.25",
    got: text,
  }));
  return { x, y };
}

const namesFrom = (text: string): AnalysisName[] =>
  text.split(",").map((name) => {
    const known = analyses.find((other) => other === name.trim());
    check(known !== undefined, "E_FLAG", () => {
      const [near] = nearest(name, analyses);
      return {
        where: "--only",
        expected: `some of ${analyses.join(", ")}`,
        got: name,
        ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
      };
    });
    return known;
  });

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("<MODEL>", "model folder or hub id")
    .argument("<PROMPT>", "what to draw meanwhile")
    .option("--against <MODEL...>", "other models to show beside it: its students, its teacher")
    .option("--out <DIR>", "new folder for pictures, numbers and the page");
  addRequestFlags(command, drawing);
  command
    .option("--point <X,Y>", "whose self-attention to show, as shares of width and height", "0.5,0.5")
    .option("--word <WORD>", "word of the prompt whose cross-attention to show")
    .option("--only <NAMES>", `some of ${analyses.join(", ")}`)
    .option("--engine <NAME>", "what computes", "auto")
    .option("--threads <N>", "threads that compute")
    .option("--offline", "use only what is on this machine")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (model: string, prompt: string, o: Options) =>
      finish(await run(model, prompt, o, world, commandLine("analyze", [model, prompt], command))),
    );
}

async function run(
  model: string,
  prompt: string,
  o: Options,
  world: World,
  commandText: string,
): Promise<number> {
  const { out } = o;
  const threads = threadsFrom(o.threads);
  const point = pointFrom(o.point);
  const drawn = { prompt, ...requestFromFlags({ ...o }, drawing) };
  const { seed = 0, steps, guidance, width, height } = parseRequest(drawn, flagOf);
  const asked = {
    ...{ prompt, seed, steps, guidance, width, height, point },
    ...(o.word === undefined ? {} : { word: o.word }),
    ...(o.only === undefined ? {} : { only: namesFrom(o.only) }),
  };
  check(out !== undefined, "E_FLAG", () => ({
    where: "--out",
    expected: "a new folder for the report",
    got: "nothing",
    hint: "koala analyze --help lists what it takes.",
  }));
  const progress = progressFor(world.stderr, o.quiet === true);
  return interruptible(world, progress, "Stopped; nothing half-made is left.", async (signal) => {
    const all: Analyzed[] = [];
    await makeNewFolder(out, ROOM, async (folder) => {
      const { Pipeline } = await import("../../../pipeline/pipeline.ts");
      for (const location of [model, ...(o.against ?? [])]) {
        const pipeline = await Pipeline.load(location, {
          engine: o.engine,
          ...(threads === undefined ? {} : { threads }),
          ...(o.offline === true ? { isOffline: true } : {}),
          signal,
        });
        try {
          progress.note(`${location}: draws "${prompt}" and looks inside`);
          all.push({ model: location, analysis: await analyze(pipeline, { ...asked, signal }) });
        } finally {
          await pipeline.dispose();
        }
        signal.throwIfAborted();
      }
      const { writeAnalysis } = await import("../../analysis/write.ts");
      await writeAnalysis(folder, all, {
        ...{ command: commandText, version: packageVersion(), word: o.word ?? null, point },
      });
    });
    const rows = all.flatMap(({ model: name, analysis }) =>
      analysis.similarity.map(({ stage, transformer, points }) => [
        name,
        stage,
        transformer,
        points.map(({ cosine }) => digits(cosine)).join(" "),
      ]),
    );
    if (rows.length > 0)
      progress.note(
        table([["model", "stage", "transformer", "cosine of consecutive layers"], ...rows], []).trimEnd(),
      );
    progress.note(`${bytesText(process.resourceUsage().maxRSS * 1024)} of memory at most`);
    world.stdout.write(`${out}/report.html\n`);
  });
}
