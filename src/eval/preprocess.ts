/**
 * Pictures as a CLIP tower wants them: a square of its size, each channel normalised.
 *
 * Sources: transformers' `CLIPImageProcessor`, whose settings lie in preprocessor_config.json; HPSv2's evaluation
 * (tgxs002/HPSv2 at 866735e), which keeps the whole picture and pads it.
 */

import { KoalaError } from "../core/errors.ts";
import type { Picture } from "../image/pixels.ts";
import { resample } from "../image/resample.ts";
import { type JsonObject, jsonObject } from "../models/config.ts";

/** How pictures are brought to the tower's square. */
export type Framing = "crop" | "pad";

export interface Preprocessing {
  /** Shorter side after resizing, in pixels. */
  readonly resize: number;
  /** The square that is cut out of the middle, in pixels. */
  readonly crop: number;
  /** Of red, green and blue between 0 and 1. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** OpenAI's, of CLIP's training pictures: transformers' defaults, and what HPSv2 uses. */
const clipMean = [0.48145466, 0.4578275, 0.40821073];
const clipStd = [0.26862954, 0.26130258, 0.27577711];

/** PIL's number of the bicubic filter. */
const bicubic = 3;

/**
 * Reads preprocessor_config.json. Absent fields are transformers' defaults, with `size` as the tower's side.
 * @throws KoalaError E_CONFIG naming the field that is malformed or asks for what is not done here
 */
export function preprocessing(json: unknown, size: number, where: string): Preprocessing {
  const config = jsonObject(json, where);
  const wrong = (field: string, expected: string): KoalaError =>
    new KoalaError("E_CONFIG", {
      where: `${where} (${field})`,
      expected,
      got: JSON.stringify(config[field]),
    });
  for (const field of ["do_resize", "do_center_crop", "do_rescale", "do_normalize"])
    if ((config[field] ?? true) !== true) throw wrong(field, "true");
  if ((config.resample ?? bicubic) !== bicubic) throw wrong("resample", `${bicubic}, which is bicubic`);
  const resize = side(config.size ?? size, "shortest_edge");
  if (resize === null || resize < size) throw wrong("size", `at least ${size} as the shortest edge`);
  const crop = side(config.crop_size ?? size, "height");
  if (crop !== size) throw wrong("crop_size", `${size}, the size of the picture tower`);
  const mean = config.image_mean ?? clipMean;
  const std = config.image_std ?? clipStd;
  if (!isTriple(mean)) throw wrong("image_mean", "three numbers");
  if (!isTriple(std) || std.some((x) => x <= 0)) throw wrong("image_std", "three numbers above 0");
  return { resize, crop, mean, std };
}

const isTriple = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.length === 3 && value.every((x) => typeof x === "number");

/** A side in pixels, said as a number or, by newer versions, as a field of an object. */
function side(value: unknown, field: string): number | null {
  const said = typeof value === "object" && value !== null ? (value as JsonObject)[field] : value;
  return typeof said === "number" && Number.isInteger(said) && said >= 1 ? said : null;
}

/** The square of the tower's side, not normalised yet: the middle, or all of it on black. */
export function framed(picture: Picture, { resize, crop }: Preprocessing, framing: Framing): Picture {
  const { width, height } = picture;
  if (framing === "pad") {
    const scale = crop / Math.max(width, height);
    return centred(resample(picture, Math.round(width * scale), Math.round(height * scale)), crop);
  }
  const long = (n: number, shorter: number): number => Math.trunc((resize * n) / shorter);
  const resized =
    width <= height
      ? resample(picture, resize, long(height, width))
      : resample(picture, long(width, height), resize);
  return centred(resized, crop);
}

/** The picture in the middle of a black square, cut where it is larger. */
function centred(picture: Picture, side: number): Picture {
  if (picture.width === side && picture.height === side) return picture;
  // towards zero: of an odd rest the smaller half lies left and above, cut away or black
  const x0 = Math.trunc((picture.width - side) / 2);
  const y0 = Math.trunc((picture.height - side) / 2);
  const data = new Uint8Array(3 * side * side);
  for (let y = Math.max(0, -y0); y < Math.min(side, picture.height - y0); y++) {
    const from = Math.max(0, x0);
    const to = Math.min(picture.width, x0 + side);
    const row = 3 * (y + y0) * picture.width;
    data.set(picture.data.subarray(row + 3 * from, row + 3 * to), 3 * (y * side + from - x0));
  }
  return { width: side, height: side, data };
}

/** Squares of one side → [N, 3, side, side], each channel less its mean over its standard deviation. */
export function normalised(
  squares: readonly Picture[],
  { crop, mean, std }: Preprocessing,
): Float32Array<ArrayBuffer> {
  const plane = crop * crop;
  const out = new Float32Array(squares.length * 3 * plane);
  for (const [n, { data }] of squares.entries())
    for (let c = 0; c < 3; c++)
      for (let p = 0; p < plane; p++)
        out[(3 * n + c) * plane + p] = ((data[3 * p + c] ?? 0) / 255 - (mean[c] ?? 0)) / (std[c] ?? 1);
  return out;
}
