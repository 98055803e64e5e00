/** A study's numbers as rows: a line an arm and way of drawing, a column a score. */

import { bytes, grouped, seconds } from "../cli/units.ts";
import type { Findings } from "./conduct.ts";
import { drawName, type Plan } from "./plan.ts";
import { type Result, type ScoreName, type SeedMean, scoreOf, seedMean } from "./scores.ts";
import type { Arm } from "./study.ts";

export interface ScoreColumn {
  readonly name: ScoreName;
  readonly label: string;
  readonly digits: number;
}

export const scoreColumns: readonly ScoreColumn[] = [
  { name: "rPrecision", label: "R-precision", digits: 3 },
  { name: "share", label: "share of the real", digits: 3 },
  { name: "clipScore", label: "CLIPScore", digits: 3 },
  { name: "frechet", label: "Fréchet distance", digits: 3 },
  { name: "distance", label: "to the teacher's pictures", digits: 1 },
];

/** An arm drawn in one way. */
export interface Line {
  readonly arm: Arm;
  readonly label: string;
  readonly draw: string;
  readonly steps: number;
  readonly results: readonly Result[];
  readonly scores: Readonly<Record<ScoreName, SeedMean | null>>;
}

export const labelOf = ({ factors }: Arm): string =>
  Object.values(factors)
    .filter((value) => value !== "")
    .join(", ");

/** In the order of the design; arms that are not done yet are left out. */
export function linesOf({ design }: Plan, { results }: Findings): Line[] {
  return design.arms.flatMap((arm) => {
    const own = results.filter((result) => result.arm === arm.name && result.failure === undefined);
    return (arm.draws ?? design.draws).flatMap((draw): Line[] => {
      const name = drawName(draw);
      const first = own.flatMap(({ draws }) => draws).find((one) => one.draw === name);
      if (first === undefined) return [];
      const scores = Object.fromEntries(
        scoreColumns.map((column) => [column.name, scoreOf(own, name, column.name)]),
      ) as unknown as Line["scores"];
      return [{ arm, label: labelOf(arm), draw: name, steps: first.steps, results: own, scores }];
    });
  });
}

export function cell(mean: SeedMean | null, digits: number): string {
  if (mean === null) return "–";
  const { value, high } = mean;
  return `${value.toFixed(digits)}${high === undefined ? "" : ` ± ${(high - value).toFixed(digits)}`}`;
}

/** Every number with its interval. */
export function scoreTable(plan: Plan, findings: Findings): string[][] {
  const lines = linesOf(plan, findings);
  const factors = Object.keys(plan.design.arms[0]?.factors ?? {});
  const hasData = plan.variants.length > 0;
  const heads = [
    ...factors,
    ...(hasData ? ["pictures", "AR, px", "ACL, words"] : []),
    "steps",
    ...scoreColumns.map(({ label }) => label),
  ];
  const rows = lines.map(({ arm, steps, scores }) => {
    const facts = findings.variants[arm.variant ?? ""];
    const data =
      facts === undefined
        ? ["", "", ""]
        : [`${facts.pictures}`, facts.averageResolution.toFixed(0), facts.meanWords.toFixed(1)];
    return [
      ...factors.map((factor) => arm.factors[factor] ?? ""),
      ...(hasData ? data : []),
      `${steps}`,
      ...scoreColumns.map(({ name, digits }) => cell(scores[name], digits)),
    ];
  });
  return [heads, ...rows];
}

/** What each arm is and took: parameters, memory, time of a picture, time of training, the loss's terms at its end. */
export function costTable(plan: Plan, findings: Findings): string[][] {
  const heads = [
    "arm",
    "steps",
    "parameters",
    "memory",
    "a picture",
    "training a seed",
    "output term at the end",
  ];
  const rows = linesOf(plan, findings).map(({ label, draw, steps, results }) => {
    const drawn = results.flatMap(({ draws }) => draws).filter((one) => one.draw === draw);
    const trained = results.flatMap((result) => result.trained ?? []);
    const mean = (values: readonly number[]): number | undefined => seedMean(values)?.value;
    const output = mean(trained.flatMap(({ terms }) => terms.output ?? []));
    const train = mean(trained.map((t) => t.seconds));
    return [
      label,
      `${steps}`,
      grouped(results[0]?.parameters ?? 0),
      bytes(Math.max(...drawn.map(({ peakBytes }) => peakBytes))),
      seconds(mean(drawn.map((one) => one.seconds)) ?? 0),
      train === undefined ? "–" : seconds(train),
      output === undefined ? "–" : output.toPrecision(3),
    ];
  });
  return [heads, ...rows];
}
