/** The numbers of an arm, over its seeds: means with the interval that holds them in 95 of 100 repetitions. */

import { mean } from "../../eval/chance.ts";

/** Of one seed's pictures, drawn in one way; null where there is none. */
export interface Scores {
  readonly rPrecision: number | null;
  /** Of the real pictures of the same captions, asked the same. */
  readonly realRPrecision: number | null;
  readonly clipScore: number | null;
  readonly frechet: number | null;
  /** Root mean square difference to the teacher's pictures of the same captions and noise, in levels of 0 to 255. */
  readonly distance: number | null;
}
export type ScoreName = keyof Scores | "share";

/** One seed of an arm, as its result.json has it. */
export interface Result {
  readonly arm: string;
  readonly seed: number;
  readonly trained: Trained | null;
  /** Of the denoiser. */
  readonly parameters: number;
  readonly draws: readonly Drawn[];
  /** Why there is nothing to judge: the sentence of a training whose numbers ran away. */
  readonly failure?: string;
}

export interface Trained {
  readonly steps: number;
  readonly seconds: number;
  /** Of the loss, means of the last tenth of the steps. */
  readonly terms: Readonly<Record<string, number>>;
}

export interface Drawn {
  /** See `drawName`. */
  readonly draw: string;
  readonly steps: number;
  readonly scores: Scores;
  /** Of one picture, and what the process is planned to take meanwhile. */
  readonly seconds: number;
  readonly peakBytes: number;
  /** Picture files in the order of the captions. */
  readonly files: readonly string[];
  readonly prompts: readonly string[];
}

/** A mean over seeds; no ends where there is one seed. */
export interface SeedMean {
  readonly value: number;
  readonly low?: number;
  readonly high?: number;
  readonly values: readonly number[];
}

/** Student's t for 95 % and 1, 2, … degrees of freedom; more are near the normal's. */
const t95: readonly number[] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
const normal95 = 1.96;

/** null where there is nothing to take the mean of. */
export function seedMean(all: readonly (number | null)[]): SeedMean | null {
  const values = all.filter((x): x is number => x !== null && Number.isFinite(x));
  if (values.length === 0) return null;
  const value = mean(values);
  if (values.length === 1) return { value, values };
  const variance = values.reduce((sum, x) => sum + (x - value) ** 2, 0) / (values.length - 1);
  const half = (t95[values.length - 2] ?? normal95) * Math.sqrt(variance / values.length);
  return { value, low: value - half, high: value + half, values };
}

/** One score of an arm's seeds, drawn in one way. `share` is R-precision beside that of the real pictures. */
export function scoreOf(results: readonly Result[], draw: string, name: ScoreName): SeedMean | null {
  const all = results.flatMap(({ draws }) => draws.filter((one) => one.draw === draw));
  return seedMean(
    all.map(({ scores }) => {
      if (name !== "share") return scores[name];
      const { rPrecision, realRPrecision } = scores;
      return rPrecision === null || realRPrecision === null || realRPrecision === 0
        ? null
        : rPrecision / realRPrecision;
    }),
  );
}

/** Of the real pictures' R-precision: below it the arm without distillation draws too little for differences to mean anything. */
export const leastShare = 0.5;

export interface Verdict {
  readonly share: number | null;
  readonly says: boolean;
  readonly sentence: string;
}

/** Whether the study says anything, by the arm without distillation in the way it draws best. */
export function verdictOf(baseline: readonly Result[], name: string): Verdict {
  const draws = [...new Set(baseline.flatMap((result) => result.draws.map(({ draw }) => draw)))];
  const shares = draws.flatMap((draw) => scoreOf(baseline, draw, "share")?.value ?? []);
  const share = shares.length === 0 ? null : Math.max(...shares);
  const percent = share === null ? "none" : `${Math.round(100 * share)} %`;
  const fact = `The arm without distillation (${name}) reaches ${percent} of the real pictures' R-precision`;
  const says = share !== null && share >= leastShare;
  return {
    share,
    says,
    sentence: says
      ? `${fact}: the arms can be compared.`
      : `${fact}, less than half: this study says nothing about its question. A longer one, or a teacher that draws better, might.`,
  };
}
