/** Wrong values in errors. */

/** What kind of value it is, where JSON cannot tell it: a bigint, a circle, or nesting deeper than the stack. */
const kindOf = (value: unknown): string => (Array.isArray(value) ? "array" : typeof value);

/** What a sentence quotes of anything. */
const quotedLength = 80;

export const shortened = (text: string): string =>
  text.length <= quotedLength ? text : `${text.slice(0, quotedLength - 1)}…`;

/** A value as an error quotes it: JSON, cut where it is long. Never throws, whatever came from outside. */
export function quoted(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "number") return String(value); // JSON has no NaN
  let said: string;
  try {
    said = JSON.stringify(value) ?? kindOf(value);
  } catch {
    said = kindOf(value);
  }
  return shortened(said);
}
