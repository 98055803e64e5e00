/**
 * How a picture becomes a sample of a bucket's size: resized until it covers the bucket, mirrored or not, cropped; and
 * what SDXL is told about that.
 *
 * Source: diffusers' `train_text_to_image_sdxl.py` (`preprocess_train`, `compute_time_ids`), where the bucket is one
 * square; torchvision's `Resize`, `CenterCrop` and `RandomCrop` for the rounding.
 */

import { check } from "../../core/assert.ts";
import type { Picture } from "../../image/pixels.ts";
import { fastGenerator } from "../../tensor/random.ts";
import { bucketName, nearestBucket, type Size } from "./buckets.ts";

export interface ViewOptions {
  readonly buckets: readonly Size[];
  readonly crop: "center" | "random";
  /** Whether one view in two is mirrored. */
  readonly hasFlips: boolean;
  /** Views of a picture that are kept, each with its own crop; the second is mirrored where the first is not. */
  readonly views: number;
  /** Of crops and flips. */
  readonly seed: number;
  /** Pictures whose shorter side, in pixels, is below it are left out. */
  readonly minSide: number;
}

/** One way to look at a picture. All in pixels. */
export interface View {
  /** Before resizing, upright. */
  readonly original: Size;
  readonly resized: Size;
  /** Corner of the crop in the resized and, where it is, mirrored picture. */
  readonly left: number;
  readonly top: number;
  /** The bucket. */
  readonly target: Size;
  readonly isFlipped: boolean;
}

/** The resized picture covers the target: one side is exact, the other, no smaller, is truncated as torchvision does. */
function cover(original: Size, target: Size): Size {
  const { width, height } = original;
  const isWider = width * target.height >= height * target.width;
  return isWider
    ? { height: target.height, width: Math.max(target.width, Math.floor((target.height * width) / height)) }
    : { width: target.width, height: Math.max(target.height, Math.floor((target.width * height) / width)) };
}

/** Python's `round`: halves to even. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * The view number `index` of the picture with that size and hash: a pure function, so that a cache finds it again.
 * @throws KoalaError E_IMAGE when the picture is too small
 */
export function planView(original: Size, hash: string, index: number, o: ViewOptions): View {
  const side = Math.min(original.width, original.height);
  check(side >= o.minSide, "E_IMAGE", () => ({
    where: "picture",
    expected: `sides of at least ${o.minSide} px`,
    got: `${bucketName(original)} px`,
  }));
  const target = nearestBucket(original, o.buckets);
  const resized = cover(original, target);
  const [x, y] = [resized.width - target.width, resized.height - target.height];
  const draws = new Float32Array(2);
  fastGenerator(o.seed, `crop ${hash} ${index}`).uniform(draws, 0, 1);
  const [drawnX = 0, drawnY = 0] = draws;
  const isRandom = o.crop === "random";
  return {
    original,
    resized,
    left: isRandom ? Math.floor(drawnX * (x + 1)) : roundHalfEven(x / 2),
    top: isRandom ? Math.floor(drawnY * (y + 1)) : roundHalfEven(y / 2),
    target,
    isFlipped: o.hasFlips && (firstIsFlipped(o.seed, hash) ? index % 2 === 0 : index % 2 === 1),
  };
}

function firstIsFlipped(seed: number, hash: string): boolean {
  const draw = new Float32Array(1);
  fastGenerator(seed, `flip ${hash}`).uniform(draw, 0, 1);
  return (draw[0] ?? 0) < 0.5;
}

/** Left edge of the crop in the resized picture that is not mirrored. */
export const unflippedLeft = ({ isFlipped, left, resized, target }: View): number =>
  isFlipped ? resized.width - left - target.width : left;

/** SDXL's six: original height and width, crop top and left, target height and width. */
export const sizeNumbers = ({ original, top, left, target }: View): number[] => [
  original.height,
  original.width,
  top,
  left,
  target.height,
  target.width,
];

/** Left and right exchanged. */
export function mirror({ width, height, data }: Picture): Picture {
  const out = new Uint8Array(data.length);
  for (let row = 0; row < height; row++) {
    for (let x = 0; x < width; x++) {
      const from = 3 * (row * width + x);
      const to = 3 * (row * width + width - 1 - x);
      for (let c = 0; c < 3; c++) out[to + c] = data[from + c] ?? 0;
    }
  }
  return { width, height, data: out };
}
