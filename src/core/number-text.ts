/** Numbers as text that tells each of them from every other, NaN, the infinities and both zeros too. */

export const numberText = (value: number): string => (Object.is(value, -0) ? "-0" : String(value));
