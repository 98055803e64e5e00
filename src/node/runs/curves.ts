/** A log's numbers as curves: by term, averaged so that a trend shows, thinned so that a chart of a long run stays small. */

import type { StepRecord } from "../../train/run.ts";

export interface Curve {
  /** `loss`, a term of it, a measure of samples, `gradient norm`, `learning rate`. */
  readonly name: string;
  readonly points: readonly { readonly step: number; readonly value: number }[];
}

/** Every number of the log that changes with the steps: the loss and its terms, what samples measured, the rest. */
export function curvesOf(records: readonly StepRecord[]): Curve[] {
  const names = [...new Set(records.flatMap(({ terms }) => Object.keys(terms)))];
  const measured = [...new Set(records.flatMap(({ measures = {} }) => Object.keys(measures)))];
  const curve = (name: string, value: (record: StepRecord) => number | undefined): Curve => ({
    name,
    points: records.flatMap((record) => {
      const v = value(record);
      return v === undefined ? [] : [{ step: record.step, value: v }];
    }),
  });
  return [
    curve("loss", ({ loss }) => loss),
    ...(names.length > 1 ? names.map((name) => curve(name, ({ terms }) => terms[name])) : []),
    ...measured.map((name) => curve(name, ({ measures }) => measures?.[name])),
    curve("gradient norm", ({ gradientNorm }) => gradientNorm),
    curve("learning rate", ({ rate }) => rate),
  ];
}

/**
 * Means of `most` stretches of equal length, or the points themselves where they are fewer: the noise of single steps,
 * each at another noise level, hides the trend.
 */
export function thinned({ name, points }: Curve, most: number): Curve {
  if (points.length <= most) return { name, points };
  const means = Array.from({ length: most }, (_, i) => {
    const part = points.slice(
      Math.floor((i * points.length) / most),
      Math.floor(((i + 1) * points.length) / most),
    );
    const mean = part.reduce((sum, { value }) => sum + value, 0) / part.length;
    return { step: part.at(-1)?.step ?? 0, value: mean };
  });
  return { name, points: means };
}
