/**
 * What A1111's img2img starts from, as pictures of ours. Source: `StableDiffusionProcessingImg2Img` in modules/processing.py of
 * AUTOMATIC1111/stable-diffusion-webui; settings that would change the picture and that we have not are refused.
 */

import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { quoted } from "../../core/quoted.ts";
import type { Picture } from "../../image/pixels.ts";
import type { MaskedContent } from "../../pipeline/request.ts";
import type { Start } from "../../pipeline/start.ts";
import type { JsonObject } from "./body.ts";
import { startFrom } from "./start-pictures.ts";

export interface Started {
  readonly start: Start;
  /** How pictures come to the size that is drawn: pulled to its shape, or cropped. */
  readonly fit: "cover" | "fill";
  /** The fields of the request that say how it is started from. */
  readonly fields: JsonObject;
}

export const fromNoise: Started = { start: {}, fit: "cover", fields: {} };

/** The web UI's own, where a client says none. */
const usualStrength = 0.75;
const usualBlur = 4;
const usualFill = 0;
const usualFullRes = true;
const usualPadding = 0;

const mostBlur = 64;

/** What stands under a mask, by the number of `inpainting_fill`. */
const contents: readonly MaskedContent[] = ["fill", "original", "noise", "nothing"];

/** Values that mean what is done here; of `masked`, where there is a mask. */
const only = {
  always: { resize_mode: [0, 1] }, // 2 and 3 paint bars or enlarge latents
  masked: {
    inpainting_fill: contents.map((_, i) => i),
    inpaint_full_res: [false, true, 0, 1],
    inpainting_mask_invert: [0, 1, false, true],
  },
} as const;

function checkOnly(body: JsonObject, fields: Readonly<Record<string, readonly unknown[]>>): void {
  for (const [field, values] of Object.entries(fields)) {
    const value = body[field];
    check(value === undefined || value === null || values.includes(value), "E_REQUEST", () => ({
      where: field,
      expected: values.length === 1 ? `${values[0]}` : `one of ${values.join(", ")}`,
      got: quoted(value),
    }));
  }
}

/** The fields of a request that say what is done with its mask; a padding that is none is left to the schema to refuse. */
function maskFieldsFrom(body: JsonObject): JsonObject {
  checkOnly(body, only.masked);
  const isFullRes = Boolean(body.inpaint_full_res ?? usualFullRes);
  return {
    maskedContent: contents[Number(body.inpainting_fill ?? usualFill)],
    ...(isFullRes ? { paddingMaskCrop: body.inpaint_full_res_padding ?? usualPadding } : {}),
  };
}

/** @throws KoalaError E_REQUEST, E_IMAGE */
export async function readStart(body: JsonObject): Promise<Started> {
  const { init_images: images, mask, mask_blur: blur = usualBlur } = body;
  check(Array.isArray(images) && images.length === 1, "E_REQUEST", () => ({
    where: "init_images",
    expected: "a list of one picture in base64",
    got: Array.isArray(images) ? `${images.length} of them` : quoted(images),
  }));
  checkOnly(body, only.always);
  const maskFields = mask === undefined || mask === null ? {} : maskFieldsFrom(body);
  const isBlur = typeof blur === "number" && blur >= 0 && blur <= mostBlur;
  if (!isBlur)
    throw new KoalaError("E_REQUEST", {
      where: "mask_blur",
      expected: `a number from 0 to ${mostBlur} (px)`,
      got: quoted(blur),
    });
  const start = await startFrom(images[0], mask, ["init_images", "mask"]);
  const isInverted = body.inpainting_mask_invert === 1 || body.inpainting_mask_invert === true;
  return {
    start: {
      image: start.image,
      mask: start.mask && (await blurred(isInverted ? inverted(start.mask) : start.mask, blur)),
    },
    fit: (body.resize_mode ?? 0) === 0 ? "fill" : "cover",
    fields: { strength: body.denoising_strength ?? usualStrength, ...maskFields },
  };
}

const inverted = ({ width, height, data }: Picture): Picture => ({
  ...{ width, height },
  data: data.map((v) => 255 - v),
});

/** By a Gaussian of `sigma` pixels. */
async function blurred(mask: Picture, sigma: number): Promise<Picture> {
  if (sigma < leastSigma) return mask;
  const { default: sharp } = await import("sharp");
  const { width, height, data } = mask;
  const bytes = await sharp(data, { raw: { width, height, channels: 3 } })
    .blur(sigma)
    .raw()
    .toBuffer();
  return { width, height, data: new Uint8Array(bytes) };
}

/** The least that sharp takes; less changes nothing. */
const leastSigma = 0.3;
