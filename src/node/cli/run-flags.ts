/** The schema of training runs as command line flags, and back: flags go over the YAML file, which goes over defaults. */

import { type Command, Option } from "commander";
import { check } from "../../core/assert.ts";
import { type RunField, type RunKind, runFields } from "../../train/config.ts";
import { readConfigFile } from "../runs/folder.ts";

const camelCase = (flag: string): string =>
  flag.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

/** A field, and the kinds of run that have it. */
interface SharedField extends RunField {
  readonly kinds: readonly RunKind[];
}

/** The fields of several kinds, each once and in the words of the first: those of all kinds, then those of some. */
function fieldsOf(kinds: readonly RunKind[]): SharedField[] {
  const fields = new Map<string, SharedField>();
  for (const kind of kinds)
    for (const field of runFields(kind)) {
      const known = fields.get(field.key);
      fields.set(field.key, { ...(known ?? field), kinds: [...(known?.kinds ?? []), kind] });
    }
  const isOfAll = (field: SharedField): boolean => field.kinds.length === kinds.length;
  return [...fields.values()].sort((a, b) => Number(isOfAll(b)) - Number(isOfAll(a)));
}

function remark({ type, allowed, fallback, choices }: RunField): string {
  const takes = type === "number" || choices.length > 0 ? `: ${allowed}` : "";
  const shown = typeof fallback === "number" || typeof fallback === "string" ? ` (default ${fallback})` : "";
  return takes + shown;
}

/** Adds the fields as flags, but those that the command has already; `groupOf` heads the fields of some kinds only. */
export function addRunFlags(
  command: Command,
  kinds: readonly RunKind[],
  groupOf: (kinds: readonly RunKind[]) => string = (some) => `With --part ${some.join(" or ")}:`,
): void {
  const own = new Set(command.options.map(({ long }) => long));
  for (const field of fieldsOf(kinds)) {
    if (own.has(`--${field.flag}`)) continue;
    const { flag, argument, type, description } = field;
    const takes = argument === null ? "" : type === "list" ? ` <${argument}...>` : ` <${argument}>`;
    const option = new Option(`--${flag}${takes}`, description + remark(field));
    const isOfAll = field.kinds.length === kinds.length;
    command.addOption(isOfAll ? option : option.helpGroup(groupOf(field.kinds)));
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
    const yaml = Array.isArray(value) ? value.find((one) => /\.ya?ml$/.test(String(one))) : undefined;
    check(yaml === undefined || file !== undefined, "E_FLAG", () => ({
      where: `--${flag}`,
      expected: "what is listed to be no file of a run",
      got: `${yaml}`,
      hint: `--${flag} takes all that follows it: put ${yaml} first.`,
    }));
    if (value !== undefined) input[key] = fromText(value, type);
  }
  return input;
}
