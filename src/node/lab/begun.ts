/** What a study's folder says of how it was begun: its settings, what was measured, what the budget left of it. */

import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { check } from "../../core/assert.ts";
import { parseObject } from "../../train/data/record.ts";
import { seconds } from "../cli/units.ts";
import { physicalCores } from "../cores.ts";
import { writeAtomically } from "../files.ts";
import type { Costs, Estimate, Length, Settings } from "./plan.ts";
import type { Design } from "./study.ts";

/** What a study's folder says of how it was begun. */
export interface Begun {
  readonly version: string;
  /** "Node 20.15.0, linux x64, 2 cores". */
  readonly machine: string;
  readonly command: string;
  readonly settings: Settings;
  readonly length: Length;
  readonly costs: Costs;
  /** Before and after the budget. */
  readonly whole: Estimate;
  readonly estimate: Estimate;
}

export const machine = (): string =>
  `Node ${process.versions.node}, ${process.platform} ${process.arch}, ${physicalCores()} cores`;

const planFile = "study.json";

/** @throws KoalaError E_OUTPUT where the folder holds another study or other things */
export async function begunIn(out: string, settings: Settings, version: string): Promise<Begun | null> {
  const path = join(out, planFile);
  if (!existsSync(path)) {
    const names = (await readdir(out).catch(() => [])).filter((name) => !leftByStart.includes(name));
    check(names.length === 0, "E_OUTPUT", () => ({
      where: out,
      expected: "an empty folder, none yet, or one of this study",
      got: `${names.length} files, such as ${names[0]}`,
    }));
    return null;
  }
  const found = parseObject(await readFile(path, "utf8")) as unknown as Begun | null;
  check(found !== null && typeof found.settings === "object", "E_OUTPUT", () => ({
    where: path,
    expected: "what koala lab wrote there",
    got: "a file that is none",
    hint: "Remove the folder, or choose another --out.",
  }));
  for (const [name, now] of Object.entries({ ...settings, version })) {
    const before = { ...found.settings, version: found.version } as Readonly<Record<string, unknown>>;
    const [was, is] = [JSON.stringify(before[name]), JSON.stringify(now)];
    check(was === is, "E_OUTPUT", () => ({
      where: `${path} (${name})`,
      expected: `${was}, with which this study was begun`,
      got: is,
      hint: "Go on with the same, or choose another --out.",
    }));
  }
  return found;
}

/** What there may be before the study's own file: a kill during the timing leaves it. */
const leftByStart = ["made", "cache", "timing"];

/** @throws KoalaError E_OUTPUT, E_DISK */
export const writeBegun = (out: string, begun: Begun): Promise<void> =>
  writeAtomically(join(out, planFile), `${JSON.stringify(begun, null, 1)}\n`);

/** "36 runs of 500 steps for 12 arms and 3 seeds: …", as lines. */
export function costLines(design: Design, { settings, length, whole, estimate }: Begun): string[] {
  const long = ({ runs, training, pictures, drawing, total }: Estimate): string =>
    `${runs} runs, ${seconds(training)} of training; ${pictures} pictures, ${seconds(drawing)} of drawing; ${seconds(total)} in all`;
  const isShortened = length.steps !== settings.steps || length.count !== settings.count;
  const budget = settings.budget === null ? "" : seconds(settings.budget);
  return [
    `${design.arms.length} arms, ${settings.seeds} seed${settings.seeds === 1 ? "" : "s"}, ${length.steps} steps a run, ${length.count} captions an arm: ${long(estimate)}, by a short timing on this machine`,
    `Arms: ${design.arms.map(({ name }) => name).join(", ")}.`,
    ...(isShortened
      ? [
          `Shortened to the budget of ${budget}: ${length.steps} of ${settings.steps} steps and ${length.count} of ${settings.count} captions. The whole study: ${long(whole)}.`,
        ]
      : []),
    ...design.remarks,
  ];
}
