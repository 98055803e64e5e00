/** Numbers that flags take. */

import { check } from "../../core/assert.ts";

export interface Bounds {
  readonly least: number;
  readonly most: number;
  readonly isWhole: boolean;
}

/** Whole numbers from `least` to `most`. */
export const whole = (least: number, most: number): Bounds => ({ least, most, isWhole: true });

/** All numbers from `least` to `most`. */
export const real = (least: number, most: number): Bounds => ({ least, most, isWhole: false });

/** The number in a flag's text, or `fallback` where it was not given. @throws KoalaError E_FLAG for one out of its bounds */
export function numberOf<T extends number | undefined>(
  flag: string,
  text: string | undefined,
  fallback: T,
  { least, most, isWhole }: Bounds,
): number | T {
  if (text === undefined) return fallback;
  const value = text.trim() === "" ? Number.NaN : Number(text);
  const isRight = value >= least && value <= most && (!isWhole || Number.isInteger(value));
  check(isRight, "E_FLAG", () => ({
    where: flag,
    expected: `a ${isWhole ? "whole " : ""}number from ${least} to ${most}`,
    got: JSON.stringify(text),
  }));
  return value;
}
