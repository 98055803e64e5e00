/** What went wrong, as the command line says it: one sentence, a hint, an exit code. */

import { type Command, CommanderError } from "commander";
import { KoalaError } from "../../core/errors.ts";
import { nearest } from "../../core/nearest.ts";

/** What stands in quotes in commander's messages, which carry their data in no other way. */
const quoted = (message: string): string => /'([^']*)'/.exec(message)?.[1] ?? "";

/** What to do where a flag that takes a list has taken the argument too. */
function swallowedBy(command: Command, argument: string): string | undefined {
  const list = command.options.find(
    (o) => o.variadic && command.getOptionValue(o.attributeName()) !== undefined,
  );
  return list === undefined ? undefined : `${list.long} takes all that follows it: put ${argument} first.`;
}

/** commander's error in our own words; null where it only meant to end after help or the version. */
function flagError(error: CommanderError, command: Command): KoalaError | null {
  const path = command.parent === null ? command.name() : `${command.parent.name()} ${command.name()}`;
  const help = `${path} --help lists what it takes.`;
  const what = quoted(error.message);
  switch (error.code) {
    case "commander.help":
    case "commander.helpDisplayed":
    case "commander.version":
      return null;
    case "commander.unknownOption": {
      const flags = command.options.map(({ long }) => long ?? "").concat("--help");
      const begun = what.length > 3 ? flags.filter((flag) => flag.startsWith(what)) : [];
      const [near] = [...begun, ...nearest(what, flags)];
      const hint = near === undefined ? help : `Did you mean ${near}?`;
      return new KoalaError("E_FLAG", {
        where: what,
        expected: `a flag of ${path}`,
        got: "an unknown name",
        hint,
      });
    }
    case "commander.optionMissingArgument": {
      const [, flag = what, value = "a value"] = /^(?:-\w, )?(--[\w-]+) <(.*)>$/.exec(what) ?? [];
      return new KoalaError("E_FLAG", { where: flag, expected: value, got: "nothing", hint: help });
    }
    case "commander.missingArgument":
      return new KoalaError("E_FLAG", {
        where: path,
        expected: what,
        got: "nothing",
        hint: swallowedBy(command, what) ?? help,
      });
    case "commander.invalidArgument": {
      const [, flag = what, , given = "", allowed = "another"] =
        /'(--[\w-]+) ?(<.*>)?' argument '(.*)' is invalid. Allowed choices are (.*)\.$/.exec(error.message) ??
        [];
      return new KoalaError("E_FLAG", {
        where: flag,
        expected: `one of ${allowed}`,
        got: JSON.stringify(given),
        hint: help,
      });
    }
    case "commander.excessArguments": {
      const [, most, given] = /Expected (\d+) arguments? but got (\d+)/.exec(error.message) ?? [];
      const hint = "Text of several words needs quotes around it.";
      return new KoalaError("E_FLAG", {
        where: path,
        expected: `at most ${most} argument`,
        got: `${given}`,
        hint,
      });
    }
    default:
      return new KoalaError("E_FLAG", {
        where: path,
        expected: "flags that it understands",
        got: error.message,
        hint: help,
      });
  }
}

/** A command that does not exist. */
export function unknownCommand(name: string, commands: readonly string[]): KoalaError {
  const [near] = nearest(name, commands);
  return new KoalaError("E_FLAG", {
    where: name,
    expected: "a command of koala",
    got: "an unknown name",
    hint:
      near === undefined
        ? `The commands are ${commands.join(", ")}. To draw a picture: koala generate "a red apple"`
        : `Did you mean koala ${near}?`,
  });
}

export interface Failure {
  readonly exitCode: number;
  readonly error: KoalaError;
}

/** Any thrown thing as a failure: 2 for what the caller can mend, 1 for what is ours; null: no failure at all. */
export function failureOf(thrown: unknown, command: Command): Failure | null {
  const error =
    thrown instanceof CommanderError
      ? flagError(thrown, command)
      : thrown instanceof KoalaError
        ? thrown
        : new KoalaError("E_INTERNAL", {
            where: "koala",
            expected: "no surprise",
            got: thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown),
            hint: "This is a fault of koala. The same command with --verbose shows where it happened.",
            cause: thrown,
          });
  return error === null ? null : { exitCode: error.isUserFault ? 2 : 1, error };
}
