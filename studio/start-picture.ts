/** The picture that drawing starts from, and what is painted on it. */

import { batch, effect, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { KoalaError } from "koala-diffusion";
import { type StartFiles, sizeLike, usualStrength } from "koala-diffusion/web";
import type { Model } from "./engines.ts";
import { type Mark, markOf, maskFile, type Size } from "./mask.ts";
import { type KeptStart, startKeeper } from "./start-keeper.ts";

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
  /** Takes the one that this page had when it was left, once, and keeps from then on what there is. */
  restore(): Promise<void>;
  /** Whether that is done: before, nobody knows whether there is none. */
  readonly isRestored: ReadonlySignal<boolean>;
  /** What an engine is given; null: noise. */
  files(): Promise<StartFiles | null>;
  /** Of a picture, what stands for fields that are left open. */
  usual(model: Model | null, said: Said): Partial<Size> & { readonly strength?: number };
}

/** Sides that are typed. */
type Said = Readonly<Record<string, unknown>>;

/** Of the form, where it is one. */
const asNumber = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);

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
  const isRestored = signal(false);
  const keeper = startKeeper();
  /** Of the picture, what is kept as it came. */
  let own: Omit<KeptStart, "marks"> | null = null;
  let puts = 0;

  function remove(): void {
    puts++;
    if (image.value !== null) URL.revokeObjectURL(image.value.url);
    own = null;
    image.value = null;
    marks.value = [];
  }

  async function put(files: StartFiles, kept: KeptStart | null = null): Promise<void> {
    const turn = ++puts;
    const its = await read(files.image);
    const mask = files.mask === null ? [] : [await markOf(files.mask)];
    if (turn !== puts) return; // another one came meanwhile
    batch(() => {
      remove();
      own = kept ?? { id: Date.now() + Math.random(), files: { ...files, image: its.file } };
      image.value = { ...its, url: URL.createObjectURL(its.file) };
      marks.value = kept?.marks.flatMap((mark) => mark ?? mask) ?? mask;
    });
  }

  async function restore(): Promise<void> {
    const before = puts;
    const kept = await keeper.read().catch(() => null);
    // a picture that came meanwhile is the page's now; one that cannot be read any more is none
    if (kept !== null && before === puts) await put(kept.files, kept).catch(() => {});
    effect(() => {
      const painted = marks.value.map((mark) => ("mask" in mark ? null : mark));
      keeper.keep(image.value && own && { ...own, marks: painted });
    });
    isRestored.value = true;
  }
  let restoring: Promise<void> | null = null;

  return {
    image,
    marks,
    isRestored,
    put: (files) => put(files),
    remove,
    restore: () => (restoring ??= restore()),
    async files() {
      const its = image.value;
      return its === null ? null : { image: its.file, mask: await maskFile(marks.value, its) };
    },
    usual(model, { width, height, paddingMaskCrop }) {
      if (image.value === null) return {};
      const isPainted = marks.value.length > 0;
      const strength = usualStrength(isPainted);
      const { defaults = null, unit = null } = model ?? {};
      // where a part of the picture is drawn, its shape is not what is drawn
      if (defaults === null || unit === null || (isPainted && paddingMaskCrop !== undefined))
        return { strength };
      const sides = { width: asNumber(width), height: asNumber(height) };
      const pixels = defaults.width * defaults.height;
      return { ...sizeLike(image.value, sides, { pixels, unit }), strength };
    },
  };
}
