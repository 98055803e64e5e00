/** The commands that do by hand what a study does, for its page: with the same seeds they give the same numbers. */

import { cutArguments, picturesFolder } from "./bench.ts";
import { inPrecision, type Plan, type Training } from "./plan.ts";
import type { Draw, Fields } from "./study.ts";

const flagOf = (key: string): string => `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
const quoted = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

const words = (argv: readonly string[]): string => ["koala", ...argv].map(quoted).join(" ");

/** `koala distill …` for the fields of a run. */
export function distillCommand({ kind, method, ...fields }: Fields, folder: string): string {
  const flags = Object.entries(fields).flatMap(([key, value]) =>
    Array.isArray(value) ? [flagOf(key), ...value.map(String)] : [flagOf(key), String(value)],
  );
  return words([
    "distill",
    "--method",
    kind === "consistency" ? String(method) : "sa",
    ...flags,
    "--out",
    folder,
  ]);
}

function evalCommand(model: string, draw: Draw, folder: string, { settings, length }: Plan): string {
  const how = Object.entries({ ...draw, ...inPrecision(settings) }).flatMap(([key, value]) => [
    flagOf(key),
    String(value),
  ]);
  const split = settings.split === "" ? [] : ["--split", settings.split];
  const captions = settings.captions.length === 1 ? ["--captions", ...settings.captions] : [];
  return words([
    ...["eval", model, "--data", settings.data, ...split, "--scorer", settings.scorer],
    ...[
      "--metrics",
      "r-precision,clip-score,frechet",
      "--count",
      `${length.count}`,
      "--ways",
      `${settings.ways}`,
    ],
    ...["--group", settings.group, ...captions, "--seed", "0", ...how, "--out", folder],
  ]);
}

const ofRun = ({ path, fields }: Training): string => distillCommand(fields, path);

/** Those that make what arms rest on, and for each arm those of its first seed. */
export function commandsOf(plan: Plan): string[] {
  const { teacher } = plan.settings;
  const made = plan.made.map(({ how, path, training }) =>
    training === null ? words(["cut", ...cutArguments(how, teacher, path)]) : ofRun(training),
  );
  const arms = plan.trials
    .filter(({ seed }) => seed === 0)
    .flatMap(({ training, model, draws, path }) => [
      ...(training === null ? [] : [ofRun(training)]),
      ...draws.map((draw) => evalCommand(model, draw, picturesFolder(path, draw), plan)),
    ]);
  return [...made, ...arms];
}
