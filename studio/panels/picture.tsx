/** A picture on the page: pixels on a canvas, or a file. */

import type { Picture } from "koala-diffusion";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Shown } from "../engines.ts";

function paint(canvas: HTMLCanvasElement, { width, height, data }: Picture): void {
  canvas.width = width;
  canvas.height = height;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    pixels.data.set(data.subarray(3 * i, 3 * i + 3), 4 * i);
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
}

export function Pixels({ picture, label }: { readonly picture: Picture; readonly label: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    if (canvas.current !== null) paint(canvas.current, picture);
  }, [picture]);
  return <canvas ref={canvas} role="img" aria-label={label} />;
}

export const PictureView = ({ shown, label }: { readonly shown: Shown; readonly label: string }) =>
  "url" in shown ? <img src={shown.url} alt={label} /> : <Pixels picture={shown.picture} label={label} />;
