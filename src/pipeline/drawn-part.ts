/**
 * The part of a start that is drawn, and its way back: all of the picture, or with `paddingMaskCrop` the mask's surroundings alone, at
 * the request's size. What is black in the mask keeps its bytes either way.
 *
 * Source: `padding_mask_crop` of diffusers' inpainting pipelines; unlike their `apply_overlay`, and as in A1111's "only masked", the
 * picture comes back in its own size.
 */

import { compose } from "../image/compose.ts";
import { cropRegion } from "../image/crop-region.ts";
import { cut, framed, put, unframed } from "../image/frame.ts";
import type { Picture } from "../image/pixels.ts";
import type { Request } from "./request.ts";
import type { Start } from "./start.ts";

export interface DrawnPart {
  /** Of the request's size. */
  readonly start: Start;
  /** What was drawn of the request's size, in the picture that was started from. */
  restore(drawn: Picture): Picture;
}

/** Of a start that `withStart` has checked. */
export function drawnPart(request: Request, { image, mask }: Start): DrawnPart {
  if (image === undefined || mask === undefined) return { start: { image }, restore: (drawn) => drawn };
  const { paddingMaskCrop: padding } = request;
  const region = padding === undefined ? null : cropRegion(mask, request, padding);
  if (region === null) return { start: { image, mask }, restore: (drawn) => compose(image, drawn, mask) };
  const [below, hole] = [cut(image, region), cut(mask, region)];
  return {
    start: { image: framed(below, request), mask: framed(hole, request) },
    restore: (drawn) => put(image, compose(below, unframed(drawn, region), hole), region),
  };
}
