#!/usr/bin/env node
// Starts the command line; everything is in dist/, built by `npm ci` or `npm run build`.
import { existsSync } from "node:fs";

const main = new URL("../dist/node/cli/main.js", import.meta.url);
// a reader that has seen enough, such as head, is no fault
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error) => {
    if (error.code !== "EPIPE") throw error;
    process.exit();
  });
if (existsSync(main)) {
  process.exitCode = await (await import(main.href)).main(process.argv.slice(2));
} else {
  process.stderr.write(
    "koala: expected the built package in dist/, got nothing there\nRun npm run build first.\n",
  );
  process.exitCode = 1;
}
