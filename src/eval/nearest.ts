/**
 * The training picture that a drawn one is most like, by the cosine of their features: what shows memorising.
 * How near is too near depends on the scorer and the data, so the same is asked about real pictures.
 */

import { mean, quantile } from "./chance.ts";
import { type Features, rowOf } from "./features.ts";

export interface Neighbour {
  /** Number of the training picture; −1 where there is none to compare with. */
  readonly number: number;
  readonly cosine: number;
}

/** Rows of unit length. */
function unit(features: Features): Features {
  const data = Float32Array.from(features.data);
  for (let i = 0; i < features.count; i++) {
    const row = data.subarray(i * features.width, (i + 1) * features.width);
    const length = Math.hypot(...row);
    if (length > 0) for (const [k, x] of row.entries()) row[k] = x / length;
  }
  return { ...features, data };
}

/** For each picture the nearest of `training`, without those that `isSame` says are the picture itself. */
export function nearestPictures(
  pictures: Features,
  training: Features,
  isSame: (picture: number, other: number) => boolean = () => false,
): Neighbour[] {
  const [ours, theirs] = [unit(pictures), unit(training)];
  return Array.from({ length: ours.count }, (_, i) => {
    const own = rowOf(ours, i);
    let best: Neighbour = { number: -1, cosine: -1 };
    for (let j = 0; j < theirs.count; j++) {
      let dot = 0;
      for (let k = 0; k < own.length; k++)
        dot += (own[k] as number) * (theirs.data[j * own.length + k] as number);
      if (dot > best.cosine && !isSame(i, j)) best = { number: j, cosine: dot };
    }
    return best;
  });
}

export interface Nearness {
  readonly mean: number;
  readonly median: number;
  /** Share of pictures whose nearest is above the threshold. */
  readonly share: number;
}

export function nearness(neighbours: readonly Neighbour[], threshold: number): Nearness {
  const cosines = neighbours.map(({ cosine }) => cosine);
  return {
    mean: mean(cosines),
    median: quantile(cosines, 0.5),
    share: mean(cosines.map((x) => (x > threshold ? 1 : 0))),
  };
}
