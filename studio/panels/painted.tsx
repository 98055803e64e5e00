/** What is painted on the picture to start from, as a translucent layer of its size. */

import { useLayoutEffect, useRef } from "preact/hooks";
import { paint } from "../mask.ts";
import type { StartImage, StartPicture } from "../start-picture.ts";

/** Of a side of the canvas: more is not seen. */
const mostPixels = 1024;

interface PaintedProps {
  readonly image: StartImage;
  readonly marks: StartPicture["marks"];
}

export function Painted({ image, marks }: PaintedProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const scale = Math.min(1, mostPixels / Math.max(image.width, image.height));
  useLayoutEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (context == null) return;
    paint(context, marks.value, image, getComputedStyle(context.canvas).color);
  }, [image, marks.value]);
  return (
    <canvas
      ref={canvas}
      class="painted"
      width={Math.round(image.width * scale)}
      height={Math.round(image.height * scale)}
    />
  );
}
