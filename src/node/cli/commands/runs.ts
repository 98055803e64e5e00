/** `koala runs`: training runs in a folder as a table, or one run as curves and a report. */

import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { type Curve, curvesOf, thinned } from "../../runs/curves.ts";
import { findRuns, RunFolder } from "../../runs/folder.ts";
import { digits, factsOf, standing, writeReport } from "../../runs/report.ts";
import { printable, table } from "../tables.ts";
import type { World } from "../world.ts";

interface Options {
  readonly json?: true;
}

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("[RUN]", "a run's folder, or a folder of runs (default: this folder)")
    .option("--json", "print one JSON object")
    .option("--verbose", "say where an error comes from")
    .action(async (folder: string | undefined, o: Options) => {
      await runs(folder ?? ".", o, world);
      finish(0);
    });
}

async function runs(path: string, o: Options, world: World): Promise<void> {
  const found = await findRuns(path);
  check(found.length > 0, "E_FILE", () => ({
    where: path,
    expected: "a run's folder, or one that holds runs",
    got: "none",
    hint: "koala train and koala distill begin a run: --out names its folder.",
  }));
  if (found.length === 1 && found[0] === path) return show(path, o, world);
  const rows = await Promise.all(found.map((run) => rowOf(run).catch((error: Error) => unread(run, error))));
  if (o.json) {
    world.stdout.write(`${JSON.stringify({ runs: rows })}\n`);
    return;
  }
  const lines = rows.flatMap((row) =>
    "error" in row
      ? []
      : [[row.run, row.kind, `${row.step}/${row.steps}`, row.loss === null ? "" : digits(row.loss)]],
  );
  if (lines.length > 0)
    world.stdout.write(printable(table([["run", "kind", "steps", "loss"], ...lines], [2, 3])));
  for (const row of rows) if ("error" in row) world.stdout.write(printable(`${row.error}\n`));
}

interface Row {
  readonly run: string;
  readonly kind: string;
  readonly step: number;
  readonly steps: number;
  /** Mean of the last tenth; null before the first step. */
  readonly loss: number | null;
}

/** A run that cannot be read, which is no reason to be silent about the others. */
interface Unread {
  readonly run: string;
  /** One line that names it. */
  readonly error: string;
}

function unread(run: string, { message }: Error): Unread {
  const [line = ""] = message.split("\n");
  return { run, error: line.startsWith(run) ? line : `${run}: ${line}` };
}

async function rowOf(path: string): Promise<Row> {
  const folder = await RunFolder.open(path, { isExact: false });
  const records = await folder.records();
  const [loss] = curvesOf(records);
  const last = records.at(-1);
  return {
    run: path,
    kind: folder.run.kind,
    step: last?.step ?? 0,
    steps: folder.run.steps,
    loss: last === undefined || loss === undefined ? null : factsOf(loss).last,
  };
}

async function show(path: string, o: Options, world: World): Promise<void> {
  const folder = await RunFolder.open(path, { isExact: false });
  const records = await folder.records();
  const report = await writeReport(folder);
  const curves = curvesOf(records).filter(({ points }) => points.length > 0);
  if (o.json) {
    world.stdout.write(
      `${JSON.stringify({ ...(await rowOf(path)), curves: curves.map(factsOf), report })}\n`,
    );
    return;
  }
  const columns = (world.stdout as { columns?: number }).columns ?? 80;
  const plots = await Promise.all(curves.map((curve) => plotOf(curve, columns)));
  world.stdout.write(
    printable(
      [`${path}: ${folder.run.kind}, ${standing(records, folder.run.steps)}`, ...plots, report, ""].join(
        "\n\n",
      ),
    ),
  );
}

/** Of a curve in the terminal, in lines. */
const plotHeight = 8;
/** Room for the numbers at the left. */
const labelWidth = 12;

async function plotOf(curve: Curve, columns: number): Promise<string> {
  const { plot } = await import("asciichart");
  const values = thinned(curve, Math.max(10, columns - labelWidth - 2)).points.map(({ value }) => value);
  const { first, last } = factsOf(curve);
  if (values.every((value) => value === values[0])) return `${curve.name}: ${digits(last)}`;
  const format = (x: number): string => digits(x).padStart(labelWidth - 2);
  return `${curve.name}: ${digits(first)} → ${digits(last)}\n${plot(values, { height: plotHeight, format })}`;
}
