/** A study's scores as one SVG: a panel a score; arms below each other, or curves over sampling steps. */

import { svgOf } from "../page/vega.ts";
import { type Line, scoreColumns } from "./tables.ts";

/** In pixels; an arm of a panel is `row` high. */
const panel = { width: 330, row: 20, height: 200 };

interface Point {
  readonly score: string;
  readonly arm: string;
  readonly steps: number;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** The share of the real pictures' R-precision has R-precision's shape: the table says it. */
const charted = scoreColumns.filter(({ name }) => name !== "share");

const pointsOf = (lines: readonly Line[], nameOf: (line: Line) => string): Point[] =>
  lines.flatMap((line) =>
    charted.flatMap(({ name, label }) => {
      const mean = line.scores[name];
      if (mean === null) return [];
      const { value, low = value, high = value } = mean;
      return [{ score: label, arm: nameOf(line), steps: line.steps, value, low, high }];
    }),
  );

const facet = {
  field: "score",
  type: "nominal",
  title: null,
  sort: charted.map(({ label }) => label),
  header: { labelFontSize: 12 },
} as const;

const quantity = { type: "quantitative", title: null, scale: { zero: false } } as const;

function dots(lines: readonly Line[]): Promise<string> {
  const isOneWay = new Set(lines.map(({ draw }) => draw)).size === 1;
  const nameOf = ({ label, draw }: Line): string => (isOneWay ? label : `${label}, ${draw}`);
  const y = {
    field: "arm",
    type: "nominal",
    sort: lines.map(nameOf),
    title: null,
    axis: { labelLimit: 260 },
  } as const;
  const axis = { tickCount: 5, grid: true, gridColor: "#eee" } as const;
  return svgOf({
    data: { values: pointsOf(lines, nameOf) },
    ...{ facet, columns: 2 },
    spec: {
      width: panel.width,
      height: panel.row * lines.length,
      layer: [
        {
          mark: { type: "rule", strokeWidth: 2, color: "#1f4e79" },
          encoding: { y, x: { field: "low", ...quantity, axis }, x2: { field: "high" } },
        },
        {
          mark: { type: "point", filled: true, size: 60, color: "#1f4e79" },
          encoding: { y, x: { field: "value", ...quantity, axis } },
        },
      ],
    },
    resolve: { scale: { x: "independent" } },
  });
}

function curves(lines: readonly Line[]): Promise<string> {
  const arms = [...new Set(lines.map(({ label }) => label))];
  const color = {
    field: "arm",
    type: "nominal",
    sort: arms,
    legend: { title: null, orient: "bottom", columns: 2, labelLimit: 300, symbolOpacity: 1 },
  } as const;
  const x = {
    field: "steps",
    type: "quantitative",
    title: "sampling steps",
    axis: { tickMinStep: 1 },
  } as const;
  return svgOf({
    data: { values: pointsOf(lines, ({ label }) => label) },
    ...{ facet, columns: 2 },
    spec: {
      ...{ width: panel.width, height: panel.height },
      layer: [
        {
          mark: { type: "area", opacity: 0.15 },
          encoding: { x, color, y: { field: "low", ...quantity }, y2: { field: "high" } },
        },
        { mark: { type: "line", point: true }, encoding: { x, color, y: { field: "value", ...quantity } } },
      ],
    },
    resolve: { scale: { y: "independent" } },
  });
}

export const studyChart = (lines: readonly Line[], shows: "arms" | "steps"): Promise<string> =>
  shows === "steps" ? curves(lines) : dots(lines);
