/**
 * What the web UI's prompts say beside words and their weights, all of which are words here. Source:
 * AUTOMATIC1111/stable-diffusion-webui, modules/prompt_parser.py (brackets, `[from:to:when]`, BREAK, AND) and
 * modules/extra_networks.py (`<lora:name:weight>`).
 */

import { shortened } from "../core/quoted.ts";
import { withoutEmphasis } from "../text/emphasis.ts";

/** What the web UI reads. After a backslash a bracket is one of the words there too. */
const kinds: readonly RegExp[] = [
  /<\w+:[^<>]+>/g,
  /(?<!\\)\((?:\\.|[^()\\])+\)/g, // (word), which weighs 1.1
  /(?<!\\)\[(?:\\.|[^[\]\\])+\]/g, // [from:to:when], [one|other], and [word], which weighs 1/1.1
  /\b(?:BREAK|AND)\b/g,
];

/** Each kind by the first of it and how many more there are, as "(red) and 2 more in the prompt". */
export function foreignSyntax(prompt: string, where: string): string[] {
  let rest = withoutEmphasis(prompt);
  return kinds.flatMap((kind) => {
    const found = rest.match(kind) ?? [];
    rest = rest.replace(kind, " "); // what is of one kind is of no other
    const [first] = found;
    if (first === undefined) return [];
    const more = found.length === 1 ? "" : ` and ${found.length - 1} more`;
    return [`${shortened(first)}${more} in the ${where}`];
  });
}
