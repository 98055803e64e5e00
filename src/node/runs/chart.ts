/** Curves as one SVG: a panel a number, through vega-lite. */

import { svgOf } from "../page/vega.ts";
import { type Curve, thinned } from "./curves.ts";

/** Points of a curve in a chart: more than its pixels tell nothing. */
const mostPoints = 400;
/** Of the thick line. */
const trendPoints = 40;

const rows = (curves: readonly Curve[]): Record<string, unknown>[] =>
  curves.flatMap((curve) => [
    ...thinned(curve, mostPoints).points.map((p) => ({
      ...p,
      curve: curve.name,
      kind: "mean of a few steps",
    })),
    ...(curve.points.length > 2 * trendPoints
      ? thinned(curve, trendPoints).points.map((p) => ({ ...p, curve: curve.name, kind: "trend" }))
      : []),
  ]);

/** In pixels. */
const panel = { width: 360, height: 150 };

/** The chart of `curves`, two panels beside each other. */
export async function chartSvg(curves: readonly Curve[]): Promise<string> {
  const line = (kind: string, mark: Record<string, unknown>) => ({
    transform: [{ filter: { field: "kind", equal: kind } }],
    mark: { type: "line", ...mark },
    encoding: {
      x: { field: "step", type: "quantitative", title: null, axis: { tickCount: 5, grid: false } },
      y: {
        field: "value",
        type: "quantitative",
        title: null,
        axis: { tickCount: 4 },
        scale: { zero: false },
      },
    },
  });
  return svgOf({
    data: { values: rows(curves) },
    facet: {
      field: "curve",
      type: "nominal",
      title: null,
      sort: curves.map(({ name }) => name),
      header: { labelFontSize: 12, labelFontWeight: "bold" },
    },
    columns: 2,
    spec: {
      ...panel,
      layer: [
        line("mean of a few steps", { color: "#8fb3d9", strokeWidth: 1 }),
        line("trend", { color: "#1f4e79", strokeWidth: 2 }),
      ],
    },
    resolve: { scale: { y: "independent" } },
  });
}
