/** Numbers on a grid of tokens as pictures. */

import type { Picture } from "../image/pixels.ts";

/** Tokens of a square or wide picture: rows of `width` tokens. */
export interface TokenGrid {
  readonly width: number;
  readonly height: number;
}

/** The grid of `tokens` tokens of a picture of `width` x `height` px: the same proportions. */
export function gridOf(tokens: number, size: { readonly width: number; readonly height: number }): TokenGrid {
  const width = Math.round(Math.sqrt((tokens * size.width) / size.height));
  return { width, height: Math.round(tokens / width) };
}

/** Dark violet over orange to light yellow at 0, 1/3, 2/3 and 1: even in lightness, so that it reads in grey as well. */
const warm: readonly (readonly [number, number, number])[] = [
  [13, 8, 40],
  [140, 41, 98],
  [242, 132, 59],
  [252, 253, 191],
];

function colour(x: number): [number, number, number] {
  const place = Math.min(Math.max(x, 0), 1) * (warm.length - 1);
  const i = Math.min(Math.floor(place), warm.length - 2);
  const [a, b] = [warm[i], warm[i + 1]];
  return [0, 1, 2].map((c) => {
    const [from = 0, to = 0] = [a?.[c], b?.[c]];
    return Math.round(from + (place - i) * (to - from));
  }) as [number, number, number];
}

/** One number a token, from its least to its most, enlarged to `size`. */
export function heat(
  values: Float64Array,
  grid: TokenGrid,
  size: { width: number; height: number },
): Picture {
  const least = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const span = Math.max(most - least, Number.MIN_VALUE);
  return enlarged(grid, size, (token) => colour(((values[token] ?? 0) - least) / span));
}

/** Three numbers a token as red, green and blue, each from its least to its most. `scores` [S, 3]. */
export function rgb(scores: Float64Array, grid: TokenGrid, size: { width: number; height: number }): Picture {
  const ranges = [0, 1, 2].map((c) => {
    const own = Array.from({ length: scores.length / 3 }, (_, s) => scores[3 * s + c] ?? 0);
    const least = Math.min(...own);
    return { least, span: Math.max(Math.max(...own) - least, Number.MIN_VALUE) };
  });
  return enlarged(
    grid,
    size,
    (token) =>
      ranges.map(({ least, span }, c) =>
        Math.round((255 * ((scores[3 * token + c] ?? 0) - least)) / span),
      ) as [number, number, number],
  );
}

function enlarged(
  grid: TokenGrid,
  { width, height }: { width: number; height: number },
  colourOf: (token: number) => readonly [number, number, number],
): Picture {
  const colours = Array.from({ length: grid.width * grid.height }, (_, token) => colourOf(token));
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const row = Math.min(Math.floor((y * grid.height) / height), grid.height - 1);
    for (let x = 0; x < width; x++) {
      const column = Math.min(Math.floor((x * grid.width) / width), grid.width - 1);
      data.set(colours[row * grid.width + column] ?? [0, 0, 0], 3 * (y * width + x));
    }
  }
  return { width, height, data };
}

/** `over` laid on `under` with a share of `opacity`; both of one size. */
export function blend(under: Picture, over: Picture, opacity: number): Picture {
  const data = under.data.map((v, i) => Math.round((1 - opacity) * v + opacity * (over.data[i] ?? 0)));
  return { width: under.width, height: under.height, data };
}
