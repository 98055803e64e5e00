/** A study on one page, in an HTML file that needs no other, and its numbers as JSON. */

import { join } from "node:path";
import { grid } from "../../image/grid.ts";
import type { Picture } from "../../image/pixels.ts";
import { resample } from "../../image/resample.ts";
import { seconds } from "../cli/units.ts";
import { writeAtomically } from "../files.ts";
import { encodePicture, readPicture } from "../image-file.ts";
import { escaped, figure, htmlPage, htmlTable } from "../page/html.ts";
import { type Begun, costLines } from "./begun.ts";
import { studyChart } from "./charts.ts";
import { commandsOf } from "./commands.ts";
import type { Findings } from "./conduct.ts";
import type { Plan } from "./plan.ts";
import { type Drawn, type Verdict, verdictOf } from "./scores.ts";
import type { Study } from "./study.ts";
import { costTable, type Line, linesOf, scoreColumns, scoreTable } from "./tables.ts";

export interface Said {
  readonly study: Study;
  readonly plan: Plan;
  readonly begun: Begun;
  readonly out: string;
}

/** Captions that the page shows pictures of. */
const shownCaptions = 8;
/** Ways of drawing that it shows all of; of more the first, the middle one and the last. */
const mostDraws = 3;
/** Of a picture on the page, in pixels. */
const side = 96;

/** What the paper is, where none of its numbers could be read. */
const unread =
  "The numbers of that table or figure could not be read, so none stand beside ours: what is compared is which arm is better.";

export const reportPaths = (out: string): { readonly page: string; readonly numbers: string } => ({
  page: join(out, "report.html"),
  numbers: join(out, "numbers.json"),
});

export const verdictFor = ({ design: { baseline } }: Plan, { results }: Findings): Verdict =>
  verdictOf(
    results.filter(({ arm }) => arm === baseline),
    baseline,
  );

/**
 * Writes `report.html` and `numbers.json` into the study's folder.
 * @throws KoalaError E_OUTPUT, E_DISK; E_FILE, E_IMAGE where a drawn picture is gone
 */
export async function writeStudyReport(findings: Findings, said: Said): Promise<void> {
  const paths = reportPaths(said.out);
  const verdict = verdictFor(said.plan, findings);
  const numbers = `${JSON.stringify(numbersOf(findings, verdict, said), null, 1)}\n`;
  await writeAtomically(paths.numbers, numbers);
  await writeAtomically(paths.page, await page(findings, verdict, said));
}

function numbersOf(findings: Findings, verdict: Verdict, { study, plan, begun }: Said): unknown {
  const arms = linesOf(plan, findings).map(({ arm, draw, steps, scores }) => ({
    ...{ arm: arm.name, factors: arm.factors, draw, steps },
    scores: Object.fromEntries(scoreColumns.map(({ name }) => [name, scores[name]])),
  }));
  return {
    ...{ study: study.name, question: study.question, paper: study.paper, verdict },
    ...{
      version: begun.version,
      machine: begun.machine,
      command: begun.command,
      settings: begun.settings,
      length: begun.length,
    },
    ...{ costs: begun.costs, estimate: begun.estimate, remarks: plan.design.remarks },
    ...{ arms, results: findings.results, teacher: findings.teacher, data: findings.variants },
    commands: commandsOf(plan),
  };
}

const paragraph = (text: string): string => `<p>${escaped(text)}</p>`;
const note = (text: string): string => `<p class="note">${escaped(text)}</p>`;

async function page(findings: Findings, verdict: Verdict, said: Said): Promise<string> {
  const { study, plan, begun } = said;
  const lines = linesOf(plan, findings);
  const scores = scoreTable(plan, findings);
  const costs = costTable(plan, findings);
  const seeds = [
    ...new Set(findings.results.filter(({ trained }) => trained !== null).map(({ seed }) => seed)),
  ];
  const done = Math.max(1, seeds.length);
  const asked = begun.settings.seeds;
  const numeric = (table: readonly (readonly string[])[], texts: number): number[] =>
    (table[0] ?? []).map((_, i) => i).slice(texts);
  const factors = Object.keys(plan.design.arms[0]?.factors ?? {}).length;
  const body = [
    paragraph(study.question),
    `<p><b>${escaped(verdict.sentence)}</b></p>`,
    ...(done < asked ? [paragraph(`So far ${done} of ${asked} seeds are done.`)] : []),
    "<h2>In the paper</h2>",
    paragraph(paperOf(study)),
    note(unread),
    "<h2>Scores</h2>",
    await studyChart(lines, plan.design.shows),
    htmlTable(scores, numeric(scores, factors)),
    note(remarkOf(done, plan, findings)),
    ...findings.results.flatMap(({ arm, seed, failure }) =>
      failure === undefined ? [] : [paragraph(`Not counted: ${arm}, seed ${seed}: ${failure}`)],
    ),
    "<h2>What the arms are and take</h2>",
    htmlTable(costs, numeric(costs, 1)),
    note(
      "Memory is what the process is planned to take while it draws. The output term is the mean squared difference of the student's prediction to its teacher's on the pictures that it learns from, over the last tenth of the steps.",
    ),
    "<h2>Pictures</h2>",
    ...(await sheets(lines, findings, said)),
    "<h2>How it was made</h2>",
    ...costLines(plan.design, begun).map(paragraph),
    paragraph(timeOf(findings)),
    `<pre>${escaped(begun.command)}</pre>`,
    note(
      `What that does, as single commands${asked === 1 ? "" : `, for the first of ${asked} seeds; the others have --seed 1 and so on`}. Made with koala-diffusion ${begun.version}, ${begun.machine}.`,
    ),
    `<pre>${escaped(commandsOf(plan).join("\n"))}</pre>`,
    "<h2>Settings</h2>",
    `<pre>${escaped(JSON.stringify({ ...begun.settings, ...begun.length }, null, 2))}</pre>`,
  ];
  return htmlPage(`koala lab ${study.name}: ${study.title}`, body.join("\n"));
}

function paperOf({ paper: { where, found } }: Study): string {
  return `KOALA (arXiv:2312.04005), ${where}. ${found === null ? "What it found could not be read." : `There: ${found}.`}`;
}

function remarkOf(seeds: number, { settings, length }: Plan, { teacher }: Findings): string {
  const interval =
    seeds > 1
      ? `After ±: half of the interval that holds the mean in 95 of 100 repetitions with other seeds of training (Student's t over ${seeds} seeds).`
      : "One seed: no intervals.";
  const real = teacher[0]?.scores.realRPrecision;
  const asked =
    real === null || real === undefined ? "" : `; the real pictures of these captions get ${real.toFixed(3)}`;
  return `${interval} Each seed of each arm draws the same ${length.count} captions of the data from the same noise. R-precision chooses from ${settings.ways} captions${asked}. The Fréchet distance is in the scorer's features and compares within this table only. The distance to the teacher's pictures is the root mean square over their bytes, 0 to 255.`;
}

function timeOf({ results }: Findings): string {
  const training = results.reduce((sum, { trained }) => sum + (trained?.seconds ?? 0), 0);
  return `The arms' training took ${seconds(training)}.`;
}

/** A row of pictures for the real captions, the teacher and each arm's first seed. */
async function sheets(lines: readonly Line[], findings: Findings, { out }: Said): Promise<string[]> {
  const rows = [
    ...findings.teacher.map((drawn) => ({ label: `the teacher, ${drawn.draw}`, drawn })),
    ...lines.flatMap(({ label, draw, results }) => {
      const drawn = results[0]?.draws.find((one) => one.draw === draw);
      return drawn === undefined ? [] : [{ label: `${label}, ${draw}`, drawn }];
    }),
  ];
  const prompts = rows[0]?.drawn.prompts ?? [];
  const draws = findings.teacher.map(({ draw }) => draw);
  const shownDraws =
    draws.length <= mostDraws
      ? draws
      : [0, 0.5, 1].map((share) => draws[Math.floor(share * (draws.length - 1))]);
  const shown = spread(prompts.length);
  const figures: string[] = [];
  for (const { label, drawn } of rows.filter((row) => shownDraws.includes(row.drawn.draw))) {
    const sheet = await encodePicture(await sheetOf(drawn, shown, out), "webp");
    figures.push(figure(sheet, label, { kind: "webp", width: shown.length * side }));
  }
  return [note(`From left to right: ${shown.map((i) => prompts[i]).join("; ")}.`), ...figures];
}

function spread(count: number): number[] {
  const most = Math.min(count, shownCaptions);
  return Array.from({ length: most }, (_, i) => Math.floor((i * count) / most));
}

async function sheetOf({ files }: Drawn, shown: readonly number[], out: string): Promise<Picture> {
  const pictures: Picture[] = [];
  for (const i of shown) {
    const picture = await readPicture(join(out, files[i] ?? ""));
    pictures.push(
      picture.width === side && picture.height === side ? picture : resample(picture, side, side),
    );
  }
  return grid(pictures, pictures.length);
}
