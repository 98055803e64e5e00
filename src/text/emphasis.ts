/**
 * Weights of words: `(words:1.3)` in a prompt. Nested ones multiply; `\(`, `\)` and `\:` are signs like any other, and so are
 * brackets without a weight. Source of the form: AUTOMATIC1111/stable-diffusion-webui, modules/prompt_parser.py.
 */

/** A part of a prompt whose words weigh the same. */
export interface Weighted {
  readonly text: string;
  /** 1 for words as they are. */
  readonly weight: number;
}

/** What a prompt is cut at: an escape, a bracket that opens, one that closes with a weight or without, and all between. */
const marks = /\\[():]|\(|:\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)|\)|[^\\():]+|[\\:]/g;

/** The parts of a prompt with their escapes as they were typed. */
function partsOf(prompt: string): Weighted[] {
  const parts: { text: string; weight: number }[] = [];
  const opened: number[] = []; // the parts that are brackets and wait for their other one
  for (const [mark, weight] of prompt.matchAll(marks)) {
    const isClosing = mark === ")" || weight !== undefined;
    const bracket = isClosing ? opened.pop() : undefined;
    if (weight === undefined || bracket === undefined) {
      if (mark === "(") opened.push(parts.length);
      parts.push({ text: mark, weight: 1 });
      continue;
    }
    parts.splice(bracket, 1);
    for (const part of parts.slice(bracket)) part.weight *= Number(weight);
  }
  return joined(parts);
}

/** Neighbours of one weight in one. */
function joined(parts: readonly Weighted[]): Weighted[] {
  const out: Weighted[] = [];
  for (const { text, weight } of parts) {
    const before = out.at(-1);
    if (before?.weight === weight) out.splice(-1, 1, { text: before.text + text, weight });
    else out.push({ text, weight });
  }
  return out;
}

const unescaped = (text: string): string => text.replace(/\\([():])/g, "$1");

/** The words of a prompt with their weights. */
export const readEmphasis = (prompt: string): Weighted[] =>
  partsOf(prompt).map(({ text, weight }) => ({ text: unescaped(text), weight }));

/** The prompt without its weights and their brackets; escapes stay. */
export const withoutEmphasis = (prompt: string): string =>
  partsOf(prompt)
    .map(({ text }) => text)
    .join("");
