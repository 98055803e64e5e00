/** What a few runs say: the middle, and how far apart they lie. */

/** Of runs that are the same but for chance. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly count: number;
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? upper) + upper) / 2;
}

/** Null where there is nothing to say it of. */
export function spreadOf(values: readonly number[]): Spread | null {
  if (values.length === 0) return null;
  return {
    median: median(values),
    least: Math.min(...values),
    most: Math.max(...values),
    count: values.length,
  };
}

/**
 * How many times one contender's numbers are another's: the ratio of the medians of each round, then the middle of the
 * rounds. Machines drift between rounds more than within one; a round without numbers of both is left out.
 */
export function ratioOf(
  ours: readonly (readonly number[])[],
  theirs: readonly (readonly number[])[],
): Spread | null {
  const ratios = ours.flatMap((mine, round) => {
    const its = theirs[round] ?? [];
    return mine.length === 0 || its.length === 0 ? [] : [median(mine) / median(its)];
  });
  return spreadOf(ratios);
}
