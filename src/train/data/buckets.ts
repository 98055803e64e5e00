/**
 * Aspect-ratio buckets: the sizes that pictures are brought to, so that a batch has one size and little is cropped away.
 *
 * Source: Podell et al. 2023 (SDXL), arXiv:2307.01952, section 2.3 and appendix I. Its list is the multiples of 64 from
 * 512 to 2048 px whose area lies within a tenth below 1024²; `makeBuckets` is that rule for any target.
 */

import { check } from "../../core/assert.ts";

/** Pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface BucketOptions {
  /** Side, in pixels, of the square whose area is the target. */
  readonly resolution: number;
  /** Sides are multiples of it, in pixels: 64 for SDXL, the VAE's factor times 8 for small models. */
  readonly step: number;
  /** Whether pictures keep their aspect; else all are cropped to the square. */
  readonly hasAspects: boolean;
}

/** How far below the target an area may be: 0.9 gives the paper's list, whose smallest is 704 · 1344, 0.902. */
const leastArea = 0.9;

/** How long the long side may be: 2048 of 1024 in the paper. */
const longest = 2;

/**
 * The sizes, widest last. The square is always one of them.
 * @throws KoalaError E_CONFIG when the resolution is not a multiple of the step
 */
export function makeBuckets({ resolution, step, hasAspects }: BucketOptions): Size[] {
  check(
    Number.isInteger(step) && step > 0 && Number.isInteger(resolution) && resolution > 0,
    "E_CONFIG",
    () => ({
      where: "resolution",
      expected: "whole numbers of pixels above 0",
      got: `${resolution} in steps of ${step}`,
    }),
  );
  check(resolution % step === 0, "E_CONFIG", () => ({
    where: "resolution",
    expected: `a multiple of ${step} px`,
    got: `${resolution}`,
  }));
  if (!hasAspects) return [{ width: resolution, height: resolution }];
  const area = resolution ** 2;
  const from = Math.ceil(resolution / longest / step) * step;
  const sides: number[] = [];
  for (let side = from; side <= resolution * longest; side += step) sides.push(side);
  return sides.flatMap((width) =>
    sides
      .filter((height) => width * height <= area && width * height >= leastArea * area)
      .map((height) => ({ width, height }))
      .toReversed(),
  );
}

const aspect = ({ width, height }: Size): number => Math.log(width / height);

/** The bucket whose aspect ratio is nearest, as a ratio; of several the largest. */
export function nearestBucket(size: Size, buckets: readonly Size[]): Size {
  const distance = (bucket: Size): number => Math.abs(aspect(bucket) - aspect(size));
  const [first, ...rest] = buckets;
  check(first !== undefined, "E_CONFIG", () => ({ where: "buckets", expected: "at least one", got: "none" }));
  return rest.reduce((best, bucket) => {
    const difference = distance(bucket) - distance(best);
    if (Math.abs(difference) > 1e-12) return difference < 0 ? bucket : best;
    return bucket.width * bucket.height > best.width * best.height ? bucket : best;
  }, first);
}

/** `1024x960`: how a bucket is called in tables and keys. */
export const bucketName = ({ width, height }: Size): string => `${width}x${height}`;
