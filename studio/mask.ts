/** What is painted on a picture to be drawn anew: strokes of a brush, over a mask that came with the picture. */

/** In pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** In pixels of the picture. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Stroke {
  readonly points: readonly Point[];
  /** In pixels of the picture. */
  readonly width: number;
  readonly isErasing: boolean;
}

/** A mask of a file comes first; it is opaque where it is white. */
export type Mark = Stroke | { readonly mask: OffscreenCanvas };

type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

const canvasOf = ({ width, height }: Size): OffscreenCanvasRenderingContext2D =>
  new OffscreenCanvas(width, height).getContext("2d") as OffscreenCanvasRenderingContext2D;

function drawStroke(context: Context, { points, width, isErasing }: Stroke): void {
  context.globalCompositeOperation = isErasing ? "destination-out" : "source-over";
  context.lineWidth = width;
  context.beginPath();
  for (const { x, y } of points) context.lineTo(x, y);
  const [first] = points;
  if (first !== undefined && points.length === 1) context.lineTo(first.x + 0.01, first.y); // a line of no length is not drawn
  context.stroke();
}

function drawMask(context: Context, mask: OffscreenCanvas, { width, height }: Size): void {
  context.globalCompositeOperation = "source-over";
  context.drawImage(mask, 0, 0, width, height);
  context.globalCompositeOperation = "source-in"; // in the colour of the strokes
  context.fillRect(0, 0, width, height);
}

/** The marks of a picture of this size, in one colour on nothing, over the whole canvas. */
export function paint(context: Context, marks: readonly Mark[], size: Size, colour: string): void {
  const { canvas } = context;
  context.setTransform(canvas.width / size.width, 0, 0, canvas.height / size.height, 0, 0);
  context.clearRect(0, 0, size.width, size.height);
  Object.assign(context, { lineCap: "round", lineJoin: "round", strokeStyle: colour, fillStyle: colour });
  for (const mark of marks)
    if ("mask" in mark) drawMask(context, mark.mask, size);
    else drawStroke(context, mark);
}

/** A PNG of the picture's size, white where something is painted, on black; null where nothing is. */
export async function maskFile(marks: readonly Mark[], size: Size): Promise<Blob | null> {
  if (marks.length === 0) return null;
  const context = canvasOf(size);
  paint(context, marks, size, "white");
  const { data } = context.getImageData(0, 0, size.width, size.height);
  if (data.every((value) => value === 0)) return null;
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "black";
  context.fillRect(0, 0, size.width, size.height);
  return context.canvas.convertToBlob({ type: "image/png" });
}

/** The mask of such a file. */
export async function markOf(file: Blob): Promise<Mark> {
  const bitmap = await createImageBitmap(file);
  const context = canvasOf(bitmap);
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height);
  for (let i = 0; i < pixels.data.length; i += 4) pixels.data[i + 3] = pixels.data[i] ?? 0;
  context.putImageData(pixels, 0, 0);
  return { mask: context.canvas };
}
