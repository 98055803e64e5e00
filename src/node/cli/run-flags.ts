/** The schema of training runs as command line flags, and back: flags go over the YAML file, which goes over defaults. */

import type { Command } from "commander";
import { type RunField, type RunKind, runFields } from "../../train/config.ts";
import { readConfigFile } from "../runs/folder.ts";

const camelCase = (flag: string): string =>
  flag.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

/** The fields of several kinds, each once. */
function fieldsOf(kinds: readonly RunKind[]): RunField[] {
  const fields = new Map(
    kinds.flatMap((kind) => runFields(kind).map((field) => [field.key, field] as const)),
  );
  return [...fields.values()];
}

function remark({ type, allowed, fallback, choices }: RunField): string {
  const takes = type === "number" || choices.length > 0 ? `: ${allowed}` : "";
  const shown = typeof fallback === "number" || typeof fallback === "string" ? ` (default ${fallback})` : "";
  return takes + shown;
}

export function addRunFlags(command: Command, kinds: readonly RunKind[]): void {
  for (const field of fieldsOf(kinds)) {
    const { flag, argument, type, description } = field;
    const takes = argument === null ? "" : type === "list" ? ` <${argument}...>` : ` <${argument}>`;
    command.option(`--${flag}${takes}`, description + remark(field));
  }
}

/** What a field of a run is called on the command line. */
export const runFlagOf = (key: string): string =>
  `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** A flag's text as the schema wants it; what does not fit stays text, for the schema to refuse it. */
function fromText(value: unknown, type: RunField["type"]): unknown {
  if (type !== "number" || typeof value !== "string" || value.trim() === "") return value;
  const number = Number(value);
  return Number.isNaN(number) ? value : number;
}

/** The fields of a run, unchecked: those of the file, and over them the flags that were given. */
export async function runInput(
  file: string | undefined,
  options: Readonly<Record<string, unknown>>,
  kinds: readonly RunKind[],
): Promise<Record<string, unknown>> {
  const input = file === undefined ? {} : await readConfigFile(file);
  for (const { key, flag, type } of fieldsOf(kinds)) {
    const value = options[camelCase(flag)];
    if (value !== undefined) input[key] = fromText(value, type);
  }
  return input;
}
