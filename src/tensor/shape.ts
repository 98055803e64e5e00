/** Shapes are lists of whole numbers, outermost first; a scalar has the empty shape. */

import { check } from "../core/assert.ts";

export type Shape = readonly number[];

export const size = (shape: Shape): number => shape.reduce((n, d) => n * d, 1);

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i]);

/** Elements between neighbours along each axis, in row-major order. */
export function strides(shape: Shape): number[] {
  const out = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    out[axis] = step;
    step *= shape[axis] ?? 1;
  }
  return out;
}

/**
 * The shape that both broadcast to, by NumPy's rule: align at the right, 1 stretches.
 * @throws KoalaError E_SHAPE
 */
export function broadcastShapes(a: Shape, b: Shape, where: string): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    check(x === y || x === 1 || y === 1, "E_SHAPE", () => ({
      where,
      expected: `shapes that broadcast (axis ${i}: ${x} vs ${y})`,
      got: `${show(a)} and ${show(b)}`,
    }));
    return x === 1 ? y : x;
  });
}

/** `axis`, or counted from the end where negative. */
export const wrapAxis = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

export const show = (shape: Shape): string => `[${shape.join(", ")}]`;
