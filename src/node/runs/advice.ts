/** What to do about a run whose numbers went wrong: commands that work, since going on meets the same numbers. */

import { join } from "node:path";
import type { Run } from "../../train/config.ts";
import { commandOf, type RunFolder } from "./folder.ts";

/** Fields by which a new run would begin with other weights than those of its model. */
const begunOtherwise = ["unet", "transformer", "vae", "clip", "fresh"] as const;

const beginningOf = (run: Run): string[] => {
  const fields: Partial<Record<(typeof begunOtherwise)[number], unknown>> = run as object;
  return begunOtherwise.filter((field) => (fields[field] ?? false) !== false);
};

/** After steps that are in the log; null where there are none, and so nothing is kept. */
export async function adviceAfter(folder: RunFolder): Promise<string | null> {
  const { path, run } = folder;
  const [last] = await folder.checkpoints();
  if (last === undefined && (await folder.records()).length === 0) return null;
  const command = commandOf(run.kind);
  const config = join(path, "config.yaml");
  const again = `koala resume ${path} would meet the same numbers. A new run: ${command} ${config} --rate LOWER --out NEW`;
  // ended there, the run's warm-up must be over: `koala resume` refuses it otherwise
  if (last === undefined || run.warmup > last.step) return again;
  const flag = command === "koala distill" ? "--student" : "--model";
  const others = beginningOf(run);
  const file = others.length === 0 ? config : "COPY";
  const copy = others.length === 0 ? "" : `, COPY being ${config} without ${others.join(" and ")}`;
  const from = `${flag} ${folder.modelPath} --rate LOWER --steps ${run.steps} --out NEW`;
  const end = `koala resume ${path} --steps ${last.step}, which writes ${folder.modelPath}`;
  return `${again}\nOne that begins with what was learned until step ${last.step}: ${end}; then ${command} ${file} ${from}${copy}`;
}
