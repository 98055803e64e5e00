/** A run on one page: its numbers, curves, samples and configuration, in an HTML file that needs no other. */

import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { StepRecord } from "../../train/run.ts";
import { seconds } from "../cli/units.ts";
import { writeAtomically } from "../files.ts";
import { escaped, figure, htmlPage, htmlTable } from "../page/html.ts";
import { chartSvg } from "./chart.ts";
import { type Curve, curvesOf } from "./curves.ts";
import { configText, type RunFolder } from "./folder.ts";

/** Sheets of samples on the page: all would make it too large to send. */
const mostSheets = 12;

/** Means of the first and the last tenth of a curve, and their least and most. */
export interface CurveFacts {
  readonly name: string;
  readonly first: number;
  readonly last: number;
}

export function factsOf({ name, points }: Curve): CurveFacts {
  const tenth = Math.max(1, Math.floor(points.length / 10));
  const mean = (part: Curve["points"]): number =>
    part.reduce((sum, { value }) => sum + value, 0) / part.length;
  return { name, first: mean(points.slice(0, tenth)), last: mean(points.slice(-tenth)) };
}

export const digits = (x: number): string =>
  x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5) ? x.toExponential(2) : x.toPrecision(4);

/** "30 of 1000 steps, 8.1 pictures/s, 12 s": where a run stands. */
export function standing(records: readonly StepRecord[], steps: number): string {
  const last = records.at(-1);
  if (last === undefined) return `0 of ${steps} steps`;
  const spent = records.reduce((sum, record) => sum + record.seconds, 0);
  const pictures = records.reduce((sum, record) => sum + record.picturesPerSecond * record.seconds, 0);
  return `${last.step} of ${steps} steps, ${(pictures / spent).toFixed(1)} pictures/s, ${seconds(spent)}`;
}

/**
 * Writes `loss.svg` and `report.html` into the run's folder, and gives the report's path.
 * @throws KoalaError E_OUTPUT, E_DISK
 */
export async function writeReport(folder: RunFolder): Promise<string> {
  const records = await folder.records();
  const curves = curvesOf(records).filter(({ points }) => points.length > 0);
  const svg = curves.length === 0 ? "" : await chartSvg(curves);
  if (svg !== "") await writeAtomically(join(folder.path, "loss.svg"), svg);
  const path = join(folder.path, "report.html");
  await writeAtomically(path, await page(folder, records, curves, svg));
  return path;
}

async function page(
  folder: RunFolder,
  records: readonly StepRecord[],
  curves: readonly Curve[],
  svg: string,
): Promise<string> {
  const { run } = folder;
  const rows = curves.map(factsOf).map((f) => [f.name, digits(f.first), digits(f.last)]);
  const sheets = await Promise.all((await folder.samples()).slice(-mostSheets).toReversed().map(sheet));
  return htmlPage(
    basename(folder.path),
    `<p>${run.kind}: ${escaped(standing(records, run.steps))}</p>
<h2>Numbers</h2>
${htmlTable([["", "first tenth", "last tenth"], ...rows], [1, 2])}
<h2>Curves</h2>
${svg}
<h2>Samples</h2>
${sheets.join("\n") || "<p>none</p>"}
<h2>Configuration</h2>
<pre>${escaped(configText(run))}</pre>`,
  );
}

async function sheet(path: string): Promise<string> {
  const step = Number(/step-(\d+)/.exec(path)?.[1]);
  return figure(await readFile(path), `samples after step ${step}`);
}
