/** Command lines as a person would type them. */

import { execFileSync } from "node:child_process";
import { Command } from "commander";
import { expect, it } from "vitest";
import { shellWord } from "../shell.ts";
import { commandLine } from "./command-line.ts";

it("quotes what a shell would take apart", () => {
  expect(["a/b.png", "a b", "it's", "$HOME", ""].map(shellWord)).toEqual([
    ...["a/b.png", "'a b'", "'it'\\''s'", "'$HOME'", "''"],
  ]);
  const words = ["a  b", 'say "it\'s"', "`x` $HOME \\ *", "ü\n"];
  const said = execFileSync("sh", ["-c", `printf '%s|' ${words.map(shellWord).join(" ")}`], {
    encoding: "utf8",
  });
  expect(said).toBe(words.map((word) => `${word}|`).join(""));
});

it("tells the flags that were given, with their values", () => {
  const command = new Command("draw")
    .argument("<PROMPT>")
    .option("--steps <N>", "", "4")
    .option("--against <MODEL...>")
    .option("--quiet")
    .option("--seed <N>", "", "0");
  const argv = ["a cat", "--against", "x", "y z", "--quiet", "--seed", "3"];
  command.parse(argv, { from: "user" });
  expect(commandLine("draw", command.args, command)).toBe(
    "koala draw 'a cat' --against x 'y z' --quiet --seed 3",
  );
});
