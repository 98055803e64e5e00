/** The results as lines of a table: a line a number, a column a model, and what the real pictures get. */

import type { Estimate } from "../../eval/chance.ts";
import type { Measured } from "../../eval/measure.ts";
import type { Evaluation, Result } from "./evaluate.ts";

/** A number with its interval or standard deviation, where it has one; NaN is one that has no meaning. */
export type Shown = Pick<Estimate, "value"> & Partial<Estimate> & { readonly deviation?: number };

export interface Line {
  readonly label: string;
  /** Which way is better; null where neither is. */
  readonly better: "more" | "less" | null;
  readonly digits: number;
  /** In the order of the columns; null where it was not measured. */
  readonly cells: readonly (Shown | null)[];
  readonly real: Shown | null;
}

interface Row {
  readonly label: (m: Measured) => string;
  readonly better: Line["better"];
  readonly digits: number;
  drawn(m: Measured): Shown | undefined;
  real?(m: Measured): Shown | undefined;
}

const rows: readonly Row[] = [
  {
    label: ({ rPrecision: r }) => `R-precision, ${r?.ways}-way`,
    ...{ better: "more", digits: 3 },
    drawn: ({ rPrecision: r }) => r?.score,
    real: ({ rPrecision: r }) => r?.real,
  },
  {
    label: () => "R-precision, share of the real",
    ...{ better: "more", digits: 3 },
    drawn: ({ rPrecision: r }) => r?.ratio,
  },
  {
    label: () => "CLIPScore",
    ...{ better: "more", digits: 3 },
    drawn: ({ clipScore: c }) => c?.drawn.score,
    real: ({ clipScore: c }) => c?.real.score,
  },
  {
    label: () => "cosine of picture and caption",
    ...{ better: "more", digits: 3 },
    drawn: ({ clipScore: c }) => c?.drawn.cosine,
    real: ({ clipScore: c }) => c?.real.cosine,
  },
  {
    label: () => "preference (HPSv2's rule)",
    ...{ better: "more", digits: 2 },
    drawn: ({ hps }) => hps?.drawn,
    real: ({ hps }) => hps?.real,
  },
  { label: () => "Fréchet distance", better: "less", digits: 3, drawn: ({ frechet }) => frechet },
  {
    label: () => "kernel distance (KID)",
    ...{ better: "less", digits: 4 },
    drawn: ({ kid }) => kid,
  },
  {
    label: () => "nearest training picture, mean cosine",
    ...{ better: null, digits: 3 },
    drawn: ({ nearest }) => nearest && { value: nearest.drawn.mean },
    real: ({ nearest }) => nearest && { value: nearest.real.mean },
  },
  {
    label: ({ nearest }) => `share with one nearer than ${nearest?.threshold}`,
    ...{ better: null, digits: 3 },
    drawn: ({ nearest }) => nearest && { value: nearest.drawn.share },
    real: ({ nearest }) => nearest && { value: nearest.real.share },
  },
  {
    label: () => "VAE, PSNR in dB",
    ...{ better: "more", digits: 2 },
    drawn: ({ psnr }) => psnr?.mean,
  },
  {
    label: () => "VAE, PSNR in dB of the worst twentieth",
    ...{ better: "more", digits: 2 },
    drawn: ({ psnr }) => psnr && { value: psnr.worst },
  },
];

export const modelsOf = ({ results }: Evaluation): string[] => [
  ...new Set(results.map(({ model }) => model)),
];

/** The lines of one part of the data that were measured. */
export function linesOf(results: readonly Result[]): Line[] {
  return rows.flatMap(({ label, better, digits, drawn, real }) => {
    const cells = results.map(({ measured }) => drawn(measured) ?? null);
    const first = results[cells.findIndex((cell) => cell !== null)];
    if (first === undefined) return [];
    return [{ label: label(first.measured), better, digits, cells, real: real?.(first.measured) ?? null }];
  });
}

/** Which way is better. */
const arrows = { more: "↑", less: "↓" } as const;

/** A table as rows of text, its heads first; the first column says what a number is, the last is of the real pictures where they have any. */
export function tableOf(results: readonly Result[], title: string): string[][] {
  const lines = linesOf(results);
  const hasReal = lines.some(({ real }) => real !== null);
  const rows = lines.map(({ label, better, digits, cells, real }) =>
    [better === null ? label : `${label} ${arrows[better]}`].concat(
      [...cells, ...(hasReal ? [real] : [])].map((cell) => cellText(cell, digits)),
    ),
  );
  return [[title, ...results.map(({ model }) => model), ...(hasReal ? ["real pictures"] : [])], ...rows];
}

/** "0.812 (0.731 to 0.884)", "0.012 ± 0.003"; a dash for what has no meaning, such as a share of nothing. */
function cellText(cell: Shown | null, digits: number): string {
  if (cell === null) return "";
  const { value, low, high, deviation } = cell;
  if (Number.isNaN(value)) return "–";
  if (deviation !== undefined) return `${value.toFixed(digits)} ± ${deviation.toFixed(digits)}`;
  if (low === undefined || high === undefined) return value.toFixed(digits);
  return `${value.toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`;
}

/** What the numbers of one part rest on, in words. */
export function remarksOf(results: readonly Result[]): string[] {
  const first = results[0]?.measured;
  const remarks: string[] = [];
  const leftOut = first?.rPrecision?.leftOut ?? 0;
  if (leftOut > 0)
    remarks.push(
      `R-precision asks about ${first?.rPrecision?.asked} captions; ${leftOut} more have too few others in their group.`,
    );
  if (first?.rPrecision?.real.value === 0)
    remarks.push("This scorer finds none of the real pictures by their captions: it cannot judge this data.");
  if (first?.frechet !== undefined)
    remarks.push(
      `The Fréchet distance is of ${first.frechet.drawn} drawn to ${first.frechet.real} real pictures, in the scorer's features: it falls with more pictures, and compares only within this table.`,
    );
  if (first?.kid !== undefined)
    remarks.push(`KID: mean and standard deviation of 100 subsets of ${first.kid.subset}.`);
  return remarks;
}
