/** What a contest came to, as tables of a terminal and of a page, as JSON, and as a chart. */

import { svgOf } from "../page/vega.ts";
import {
  type Contest,
  type Measure,
  type Missing,
  type Ratio,
  ratiosOf,
  type Standing,
  spreadIn,
} from "./contest.ts";
import type { Question } from "./questions.ts";
import type { Spread } from "./statistics.ts";

/** A heading and rows of cells, the first of heads. */
export interface Table {
  readonly title: string;
  readonly rows: readonly (readonly string[])[];
}

/** "0.42 (0.41 to 0.45)"; one number where it is all there is. */
export function spreadText(spread: Spread | null, digits: number): string {
  if (spread === null) return "-";
  const [middle, least, most] = [spread.median, spread.least, spread.most].map((n) => n.toFixed(digits));
  return spread.count === 1 || least === most ? `${middle}` : `${middle} (${least} to ${most})`;
}

export function standingsTable({ title, measures }: Question, { standings }: Contest): Table {
  const heads = ["", ...measures.map((measure) => measure.title)];
  const rows = standings.map((standing) => [
    standing.contender.name,
    ...measures.map((measure) => spreadText(spreadIn(standing, measure), measure.digits)),
  ]);
  return { title, rows: [heads, ...rows] };
}

const comparedOf = ({ measures, compared }: Question): Measure[] =>
  measures.filter(({ key }) => compared.includes(key));

/** Ours over theirs, a table a measure; none without both. */
export function ratioTables(question: Question, { standings }: Contest): Table[] {
  return comparedOf(question).flatMap((measure) => {
    const ratios = ratiosOf(standings, measure);
    const theirs = [...new Set(ratios.map((ratio) => ratio.theirs))];
    if (theirs.length === 0) return [];
    const rows = [...new Set(ratios.map((ratio) => ratio.ours))].map((ours) => [
      ours,
      ...theirs.map((its) =>
        spreadText(ratios.find((one) => one.ours === ours && one.theirs === its)?.ratio ?? null, 2),
      ),
    ]);
    return [{ title: `${measure.title}: ours over theirs`, rows: [["", ...theirs], ...rows] }];
  });
}

/** Each reason once, in one sentence for all that it keeps away. */
export function missingSentences(missing: readonly Missing[]): string[] {
  const reasons = new Map<string, string[]>();
  for (const { name, why } of missing) reasons.set(why, [...(reasons.get(why) ?? []), name]);
  return [...reasons].map(([why, names]) => `Without ${[...new Set(names)].join(", ")}: ${why}.`);
}

export const markdownOf = ({ title, rows: [heads = [], ...rows] }: Table): string =>
  [
    `**${title}**`,
    "",
    `| ${heads.join(" | ")} |`,
    `| --- ${"| ---: ".repeat(Math.max(0, heads.length - 1))}|`,
    ...rows.map((row) => `| ${row.join(" | ")} |`),
  ].join("\n");

/** Everything of a contest: each run as it was, and what was read off it. */
export function jsonOf(question: Question, contest: Contest): Record<string, unknown> {
  const { title, measures, missing } = question;
  return {
    title,
    contenders: contest.standings.map((standing) => ({
      ...{ name: standing.contender.name, isOurs: standing.contender.isOurs },
      command: [standing.contender.command.program, ...standing.contender.command.args],
      measures: Object.fromEntries(measures.map((measure) => [measure.key, spreadIn(standing, measure)])),
      runs: standing.runs,
    })),
    ratios: comparedOf(question).flatMap((measure): Ratio[] => ratiosOf(contest.standings, measure)),
    missing: [...missing, ...contest.missing],
  };
}

/** A row of the chart, and of what colour. */
interface Bar {
  readonly panel: string;
  readonly name: string;
  readonly kind: string;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

const barOf = (panel: string, { contender }: Standing, { median, least, most }: Spread): Bar => ({
  ...{ panel, name: contender.name, kind: contender.isOurs ? "koala" : "others" },
  ...{ value: median, low: least, high: most },
});

/** In pixels. */
const panel = { width: 320, row: 22 };

/** Medians as bars from 0, with a line from the least to the most; a panel a measure. */
export function barChart(parts: readonly (readonly [Question, Contest])[]): Promise<string> {
  const bars = parts.flatMap(([{ title, measures }, { standings }]) =>
    measures.flatMap((measure) =>
      standings.flatMap((standing): Bar[] => {
        const spread = spreadIn(standing, measure);
        const name = parts.length === 1 ? measure.title : `${title}: ${measure.title}`;
        return spread === null ? [] : [barOf(name, standing, spread)];
      }),
    ),
  );
  const names = [...new Set(bars.map(({ name }) => name))];
  const y = { field: "name", type: "nominal", sort: names, title: null, axis: { labelLimit: 240 } } as const;
  const axis = { tickCount: 5, grid: true, gridColor: "#eee" } as const;
  return svgOf({
    ...(parts.length === 1 ? { title: parts[0]?.[0].title ?? "" } : {}),
    data: { values: bars },
    facet: {
      ...{ field: "panel", type: "nominal", title: null, header: { labelFontSize: 12, labelLimit: 420 } },
      sort: [...new Set(bars.map((bar) => bar.panel))],
    },
    columns: 1,
    spec: {
      ...{ width: panel.width, height: panel.row * names.length },
      layer: [
        {
          mark: { type: "bar", height: { band: 0.7 } },
          encoding: {
            y,
            x: { field: "value", type: "quantitative", title: null, axis },
            color: {
              ...{ field: "kind", type: "nominal", sort: ["koala", "others"], legend: null },
              scale: { domain: ["koala", "others"], range: ["#c8702a", "#8fa7bd"] },
            },
          },
        },
        {
          mark: { type: "rule", strokeWidth: 2, color: "#222" },
          encoding: { y, x: { field: "low", type: "quantitative" }, x2: { field: "high" } },
        },
        {
          mark: { type: "text", align: "left", dx: 6 },
          encoding: {
            y,
            x: { field: "high", type: "quantitative" },
            text: { field: "value", type: "quantitative", format: ".2f" },
          },
        },
      ],
    },
    resolve: { scale: { x: "independent" } },
  });
}
