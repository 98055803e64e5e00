/** The numbers as one SVG: a panel a number, a row a model and part of the data. */

import { svgOf } from "../page/vega.ts";
import type { Evaluation } from "./evaluate.ts";
import { linesOf, modelsOf } from "./lines.ts";

/** In pixels; a row of the panel is `row` high. */
const panel = { width: 330, row: 18 };

const realName = "real pictures";

function values(evaluation: Evaluation): Record<string, unknown>[] {
  return evaluation.splits.flatMap(({ pictures: { name } }) => {
    const results = evaluation.results.filter(({ split }) => split === name);
    return linesOf(results).flatMap(({ label, cells, real }) =>
      [...cells, real].flatMap((cell, i) => {
        if (cell === null) return [];
        const who = results[i]?.model ?? realName;
        const { value, deviation = 0, low = value - deviation, high = value + deviation } = cell;
        if (![value, low, high].every(Number.isFinite)) return [];
        return [{ label, who, split: name, value, low, high }];
      }),
    );
  });
}

/** The chart of all that was measured. */
export async function chartSvg(evaluation: Evaluation): Promise<string> {
  const rows = values(evaluation);
  const sorts = {
    labels: [...new Set(rows.map(({ label }) => label))],
    who: [...modelsOf(evaluation), realName],
  };
  const splits = evaluation.splits.map(({ pictures }) => pictures.name);
  const y = { field: "who", type: "nominal", sort: sorts.who, title: null } as const;
  const yOffset = { field: "split", type: "nominal", sort: splits } as const;
  const colour = {
    field: "split",
    type: "nominal",
    sort: splits,
    scale: { range: ["#1f4e79", "#c8702a", "#4c8c4a", "#7a5195"] },
    legend: splits.length > 1 ? { title: null, orient: "top" } : null,
  } as const;
  const axis = { tickCount: 5, grid: true, gridColor: "#eee" } as const;
  return svgOf({
    data: { values: rows },
    facet: {
      field: "label",
      type: "nominal",
      title: null,
      sort: sorts.labels,
      header: { labelFontSize: 12 },
    },
    columns: 2,
    spec: {
      width: panel.width,
      height: panel.row * splits.length * sorts.who.length,
      layer: [
        {
          mark: { type: "rule", strokeWidth: 2 },
          encoding: {
            y,
            yOffset,
            color: colour,
            x: { field: "low", type: "quantitative", title: null, axis, scale: { zero: false } },
            x2: { field: "high" },
          },
        },
        {
          mark: { type: "point", filled: true, size: 60 },
          encoding: {
            y,
            yOffset,
            color: colour,
            x: { field: "value", type: "quantitative", title: null, axis, scale: { zero: false } },
          },
        },
      ],
    },
    resolve: { scale: { x: "independent" } },
  });
}
