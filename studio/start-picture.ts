/** The picture that drawing starts from, and what is painted on it. */

import { type Signal, signal } from "@preact/signals";
import { KoalaError, requestFields } from "koala-diffusion";
import { type StartFiles, sizeLike, usualStrength } from "koala-diffusion/web";
import type { Model } from "./engines.ts";
import { type Mark, markOf, maskFile, type Size } from "./mask.ts";

export interface StartImage extends Size {
  readonly file: Blob;
  readonly url: string;
}

export interface StartPicture {
  readonly image: Signal<StartImage | null>;
  /** In the order in which they were painted. */
  readonly marks: Signal<readonly Mark[]>;
  /** Takes a picture in place of the one before. @throws KoalaError E_IMAGE */
  put(files: StartFiles): Promise<void>;
  remove(): void;
  /** What an engine is given; null: noise. */
  files(): Promise<StartFiles | null>;
  /** Of a picture, what stands for fields that are left open. */
  usual(model: Model | null, said: Said): Partial<Size> & { readonly strength?: number };
}

/** Sides that are typed. */
type Said = Readonly<Record<string, unknown>>;

/** Of the form, where it is one. */
const asNumber = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);

/** What every model's sides are multiples of; some have a larger one. */
const leastUnit = requestFields().find(({ key }) => key === "width")?.multipleOf ?? 1;

/** Larger ones are made smaller as they come: few models draw more, and a picture is sent and kept with every drawing. */
const longestSide = 2048;

const asJpeg = { type: "image/jpeg", quality: 0.95 };

async function bounded(file: Blob, bitmap: ImageBitmap): Promise<Omit<StartImage, "url">> {
  const scale = longestSide / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) return { file, width: bitmap.width, height: bitmap.height };
  const [width, height] = [Math.round(bitmap.width * scale), Math.round(bitmap.height * scale)];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
  context.fillStyle = "white"; // as the engines have what is transparent
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return { file: await canvas.convertToBlob(asJpeg), width, height };
}

/** @throws KoalaError E_IMAGE */
async function read(file: Blob): Promise<Omit<StartImage, "url">> {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (bitmap !== null) return bounded(file, bitmap);
  throw new KoalaError("E_IMAGE", {
    where: "image",
    expected: "a picture that this browser can show",
    got: "something else",
  });
}

export function startPicture(): StartPicture {
  const image = signal<StartImage | null>(null);
  const marks = signal<readonly Mark[]>([]);
  let puts = 0;

  function remove(): void {
    puts++;
    if (image.value !== null) URL.revokeObjectURL(image.value.url);
    image.value = null;
    marks.value = [];
  }

  return {
    image,
    marks,
    async put(files) {
      const own = ++puts;
      const its = await read(files.image);
      const mask = files.mask === null ? [] : [await markOf(files.mask)];
      if (own !== puts) return; // another one came meanwhile
      remove();
      image.value = { ...its, url: URL.createObjectURL(its.file) };
      marks.value = mask;
    },
    remove,
    async files() {
      const its = image.value;
      return its === null ? null : { image: its.file, mask: await maskFile(marks.value, its) };
    },
    usual(model, { width, height }) {
      if (image.value === null) return {};
      const strength = usualStrength(marks.value.length > 0);
      const defaults = model?.defaults ?? null;
      if (defaults === null) return { strength };
      const sides = { width: asNumber(width), height: asNumber(height) };
      const pixels = defaults.width * defaults.height;
      const unit = Math.max(model?.unit ?? 1, leastUnit);
      return { ...sizeLike(image.value, sides, { pixels, unit }), strength };
    },
  };
}
