#!/usr/bin/env node
// Starts the command line; everything is in dist/, built by `npm ci` or `npm run build`.
import { existsSync } from "node:fs";

const main = new URL("../dist/node/cli/main.js", import.meta.url);
process.stderr.on("error", () => {}); // whoever reads no more messages wants the work all the same
process.stdout.once("error", (error) => {
  process.stdout.on("error", () => {});
  // a reader that has seen enough, such as head, is no fault
  if (error.code !== "EPIPE") {
    process.exitCode = 1;
    process.stderr.write(
      `standard output: expected a place for the result, got ${error.code ?? error.message} [E_OUTPUT]\n`,
    );
  }
  // as Ctrl-C does: what has begun is cleaned up, or kept to go on from
  if (!process.emit("SIGINT")) process.exit();
});
if (existsSync(main)) {
  const code = await (await import(main.href)).main(process.argv.slice(2));
  process.exitCode ||= code;
} else {
  process.stderr.write(
    "koala: expected the built package in dist/, got nothing there\nRun npm run build first.\n",
  );
  process.exitCode = 1;
}
