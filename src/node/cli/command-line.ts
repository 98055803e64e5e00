/** Command lines to be copied into a shell. */

import type { Command } from "commander";
import { shellWord } from "../shell.ts";

/** `koala NAME …` with the arguments and all flags that were given, whose values must be as their texts are. */
export function commandLine(name: string, args: readonly string[], command: Command): string {
  const flags = command.options.flatMap((option) => {
    const key = option.attributeName();
    if (command.getOptionValueSource(key) !== "cli") return [];
    const value: unknown = command.getOptionValue(key);
    if (value === true || value === false) return [option.long ?? ""];
    const values = Array.isArray(value) ? value : [value];
    return [option.long ?? "", ...values.map(String)];
  });
  return ["koala", name, ...[...args, ...flags].map(shellWord)].join(" ");
}
