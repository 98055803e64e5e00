/** A study from end to end in its folder: what it costs, the work, the page; or on with one that was begun. */

import { join } from "node:path";
import { makeFolder } from "../files.ts";
import { someArms } from "./arms.ts";
import { begunIn, costLines, machine, writeBegun } from "./begun.ts";
import type { Bench } from "./bench.ts";
import { conduct, cutAll } from "./conduct.ts";
import { type Costs, costKey, fieldsOf, fitBudget, planOf, type Settings, timingFields } from "./plan.ts";
import { reportPaths, verdictFor, writeStudyReport } from "./report.ts";
import type { Verdict } from "./scores.ts";
import type { Design, Study, TeacherFacts } from "./study.ts";
import { scoreTable } from "./tables.ts";

export interface LabOptions {
  readonly study: Study;
  readonly facts: TeacherFacts;
  readonly settings: Settings;
  readonly out: string;
  /** For arms that draw so many captions. */
  bench(count: number): Bench;
  note(line: string): void;
  readonly version: string;
  /** The command line that asked for it. */
  readonly command: string;
  /** Only what it costs. */
  readonly isPlanOnly: boolean;
}

/** Times each kind of run and the drawing of a picture, for a few steps each. */
async function measured(design: Design, o: LabOptions, bench: Bench): Promise<Costs> {
  const { settings, out } = o;
  const plan = planOf(design, settings, settings, out);
  const owns = [...plan.made, ...plan.trials].flatMap(({ training }) =>
    training === null ? [] : [training.own],
  );
  const kinds = new Map(owns.map((own) => [costKey(own, design), timingFields(own, design)]));
  o.note(`times ${kinds.size} kinds of runs, a few steps each`);
  const runs: Record<string, Costs["runs"][string]> = {};
  for (const [key, own] of kinds) {
    const fields = fieldsOf(own, { ...{ out, design, settings }, steps: settings.steps, seed: 0 });
    runs[key] = await bench.timeRun(fields, join(out, "timing"));
  }
  const { usualSteps, ...picture } = await bench.timePicture(settings.teacher);
  return { runs, picture, usualSteps };
}

export interface Outcome {
  /** Paths of report.html and numbers.json. */
  readonly page: string;
  readonly numbers: string;
  /** The scores, headings first. */
  readonly rows: readonly (readonly string[])[];
  readonly verdict: Verdict;
}

/**
 * Runs it to its end; null where only the cost was asked for.
 * @throws KoalaError as the runs and the evaluation do; E_FLAG for a budget that is too small; E_OUTPUT; the signal's reason
 */
export async function runStudy(o: LabOptions): Promise<Outcome | null> {
  const { study, settings, out, version } = o;
  const whole = study.design(o.facts, { isFull: settings.isFull });
  const design = settings.arms === null ? whole : someArms(whole, settings.arms);
  let begun = await begunIn(out, settings, version);
  if (begun === null) {
    const bench = o.bench(settings.count);
    await makeFolder(out, { mayHaveFiles: true });
    await cutAll(planOf(design, settings, settings, out), bench);
    const costs = await measured(design, o, bench);
    const fit = fitBudget(design, settings, costs, out);
    begun = { version, machine: machine(), command: o.command, settings, costs, ...fit };
    await writeBegun(out, begun);
  } else o.note("goes on with the study that is there");
  for (const line of costLines(design, begun)) o.note(line);
  if (o.isPlanOnly) return null;

  const plan = planOf(design, settings, begun.length, out);
  const said = { study, plan, begun, out };
  const findings = await conduct(plan, out, o.bench(begun.length.count), {
    note: o.note,
    onSeed: (sofar) => writeStudyReport(sofar, said),
  });
  return {
    ...reportPaths(out),
    rows: scoreTable(plan, findings),
    verdict: verdictFor(plan, findings),
  };
}
