/** Every metric of one model's pictures, from the features of what was drawn and of what is real. */

import type { Estimate } from "./chance.ts";
import { type ClipScore, clipScore } from "./clip-score.ts";
import { type Features, pairedCosines, rowOf } from "./features.ts";
import { frechet } from "./frechet.ts";
import { preferenceScore } from "./hps.ts";
import { type KernelDistance, kid } from "./kid.ts";
import { type Nearness, type Neighbour, nearestPictures, nearness } from "./nearest.ts";
import { answers, type Question, type RPrecision, rPrecision } from "./r-precision.ts";
import type { Reconstruction } from "./reconstruction.ts";

export const metricNames = ["r-precision", "clip-score", "hps", "frechet", "kid", "nearest", "psnr"] as const;
export type MetricName = (typeof metricNames)[number];

/** Pictures on either side without which a metric has no value. */
export const leastPictures: Readonly<Partial<Record<MetricName, number>>> = { frechet: 2, kid: 4 };

/** A score of what was drawn beside that of the real pictures of the same captions. */
export interface Beside<T> {
  readonly drawn: T;
  readonly real: T;
}

/** What was asked for; a metric that was not is absent. */
export interface Measured {
  readonly rPrecision?: RPrecision & {
    readonly ways: number;
    readonly asked: number;
    readonly leftOut: number;
  };
  readonly clipScore?: Beside<ClipScore>;
  readonly hps?: Beside<Estimate>;
  readonly frechet?: { readonly value: number; readonly drawn: number; readonly real: number };
  readonly kid?: KernelDistance;
  readonly nearest?: Beside<Nearness> & { readonly threshold: number };
  readonly psnr?: Reconstruction & { readonly pictures: number };
}

/** Of each picture on its own, by its number among the drawn ones. */
export interface Details {
  readonly cosines: readonly number[];
  /** Whether its own caption was found nearest; null where it was not asked about. */
  readonly isFound: readonly (boolean | null)[];
  /** Empty where it was not asked for. */
  readonly neighbours: readonly Neighbour[];
}

/** All rows speak of the same captions in the same order. */
export interface Material {
  readonly metrics: readonly MetricName[];
  readonly drawn: Features;
  /** The real pictures of these captions. */
  readonly real: Features;
  readonly captions: Features;
  /** R-precision: the questions, and the captions that they choose from. */
  readonly questions?: {
    readonly asked: readonly Question[];
    readonly leftOut: number;
    readonly ways: number;
    readonly pool: Features;
  };
  /** HPS: pictures kept whole and padded. */
  readonly padded?: Beside<Features>;
  /** Fréchet and kernel distance: what is measured against. */
  readonly against?: Features;
  readonly nearest?: {
    readonly training: Features;
    readonly threshold: number;
    /** Whether a real picture is that training picture. */
    isSame(real: number, training: number): boolean;
  };
  /** Of every draw. */
  readonly seed: number;
}

/** @throws KoalaError E_CONFIG when there are too few pictures for a metric */
export function measure(m: Material): { readonly measured: Measured; readonly details: Details } {
  const has = (name: MetricName): boolean => m.metrics.includes(name);
  const cosines = pairedCosines(m.drawn, m.captions);
  const isFound: (boolean | null)[] = cosines.map(() => null);
  let measured: Measured = {};

  if (has("r-precision") && m.questions !== undefined) {
    const { asked, leftOut, ways, pool } = m.questions;
    const ask = (pictures: Features): number[] => answers(asked, pictures, (i) => rowOf(pool, i));
    const drawn = ask(m.drawn);
    for (const [i, { subject }] of asked.entries()) isFound[subject] = drawn[i] === 1;
    const found = rPrecision(drawn, ask(m.real), m.seed);
    measured = { ...measured, rPrecision: { ...found, ways, asked: asked.length, leftOut } };
  }
  if (has("clip-score")) {
    const real = clipScore(pairedCosines(m.real, m.captions), m.seed);
    measured = { ...measured, clipScore: { drawn: clipScore(cosines, m.seed), real } };
  }
  if (has("hps") && m.padded !== undefined) {
    const of = (pictures: Features) => preferenceScore(pairedCosines(pictures, m.captions), m.seed);
    measured = { ...measured, hps: { drawn: of(m.padded.drawn), real: of(m.padded.real) } };
  }
  if (has("frechet") && m.against !== undefined) {
    const value = frechet(m.drawn, m.against);
    measured = { ...measured, frechet: { value, drawn: m.drawn.count, real: m.against.count } };
  }
  if (has("kid") && m.against !== undefined) measured = { ...measured, kid: kid(m.drawn, m.against, m.seed) };
  let neighbours: Neighbour[] = [];
  if (has("nearest") && m.nearest !== undefined) {
    const { training, threshold, isSame } = m.nearest;
    neighbours = nearestPictures(m.drawn, training);
    const real = nearness(nearestPictures(m.real, training, isSame), threshold);
    measured = { ...measured, nearest: { drawn: nearness(neighbours, threshold), real, threshold } };
  }
  return { measured, details: { cosines, isFound, neighbours } };
}
