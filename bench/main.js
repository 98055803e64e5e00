/**
 * `npm run bench QUESTION -- [options]`: `koala bench`, and the question that needs the repository:
 *
 *   browser  a picture by the static site over Node's, previews, and how soon the page can be used (npm run site first)   --rounds 3
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runChild } from "../dist/node/bench/child.js";
import { spreadText } from "../dist/node/bench/report.js";
import { spreadOf } from "../dist/node/bench/statistics.js";
import { main } from "../dist/node/cli/main.js";

const [question, ...rest] = process.argv.slice(2);

async function browser() {
  const { values: o } = parseArgs({ args: rest, options: { rounds: { type: "string", default: "3" } } });
  const script = join(fileURLToPath(new URL(".", import.meta.url)), "browser.js");
  const command = { program: process.execPath, args: [script, o.rounds] };
  const { said: run } = await runChild(command, new AbortController().signal);
  const [node, previews, page, usable] = [run.node, run.nodePreviews, run.browser, run.interactive].map(
    spreadOf,
  );
  const preview = (previews.median - node.median) / (run.steps - 1);
  process.stdout.write(
    `a picture of ${run.steps} steps, s\nNode              ${spreadText(node, 2)}\nNode, previews    ${spreadText(previews, 2)}  ` +
      `a preview is ${((100 * preview * run.steps) / node.median).toFixed(1)} % of a step\n` +
      `browser           ${spreadText(page, 2)}  ratio ${(page.median / node.median).toFixed(2)}\npage can be used  ${spreadText(usable, 2)}\n`,
  );
}

if (question === "browser") await browser();
else process.exitCode = await main(["bench", ...process.argv.slice(2)]);
