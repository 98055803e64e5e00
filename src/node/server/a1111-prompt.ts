/**
 * The web UI's brackets as weights of words: `(word)` weighs 1.1 there and `[word]` 1/1.1. `[from:to:when]` and `[one|other]` are no
 * weights and stay. Source: AUTOMATIC1111/stable-diffusion-webui, `parse_prompt_attention` of modules/prompt_parser.py.
 */

/** An escape, a bracket that closes with its weight, another bracket, or what is between. */
const marks = /\\.|:\s*[+-]?[.\d]+\s*\)|[()[\]]|[^\\:()[\]]+|[\\:]/gs;

/** What stands inside `[from:to:when]` or `[one|other]`. */
const isEdited = (inside: string): boolean => /\||:\s*[.\d]+\s*$/.test(inside);

/** The prompt with every weight of the web UI's written out; a bracket that is not closed weighs to its end, as there. */
export function withWrittenWeights(prompt: string): string {
  const parts: string[] = [];
  const opened: number[] = []; // the parts that are brackets and wait for their other one
  const weigh = (bracket: number): void => {
    parts.push(parts[bracket] === "(" ? ":1.1)" : ":0.9091)");
    parts[bracket] = "(";
  };
  for (const [mark] of prompt.matchAll(marks)) {
    if (mark === "(" || mark === "[") opened.push(parts.length);
    const bracket = opened.at(-1) ?? -1;
    const pair = `${parts[bracket] ?? ""}${mark}`;
    const isPair = pair === "[]" || /^\(:?[^()[\]\\]*\)$/.test(pair);
    if (isPair) opened.pop();
    if (pair === "()" || (pair === "[]" && !isEdited(parts.slice(bracket + 1).join("")))) weigh(bracket);
    else parts.push(mark.replace(/^\\(?=[[\]])/, "")); // a square bracket is a word here, and needs no backslash
  }
  for (const bracket of opened.toReversed()) weigh(bracket);
  return parts.join("");
}
