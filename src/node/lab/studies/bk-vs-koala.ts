/** KOALA's student and features beside BK-SDM's, of like size and the same budget. */

import { size } from "../../../tensor/shape.ts";
import { cutUNet } from "../../../train/distill/cut.ts";
import type { CutRuleName } from "../../../train/distill/rules.ts";
import type { Study, TeacherFacts } from "../study.ts";
import { baseline, distilled, fewerSteps, keptDepth, koalaRule, usualStudent } from "./parts.ts";

const parametersOf = ({ config }: TeacherFacts, rule: CutRuleName, depth?: number): number =>
  [...cutUNet(config, rule, depth === undefined ? {} : { depth }).parameters.values()].reduce(
    (sum, { value }) => sum + size(value.shape),
    0,
  );

/** BK-SDM's rule whose student is nearest in size to KOALA's. */
function nearestRule(facts: TeacherFacts): CutRuleName {
  const wanted = parametersOf(facts, koalaRule(facts), keptDepth(facts));
  const rules: readonly CutRuleName[] = facts.hasMid ? ["bk-sdm-base", "bk-sdm-small"] : ["bk-sdm-small"];
  const off = (rule: CutRuleName): number => Math.abs(parametersOf(facts, rule) - wanted);
  return rules.reduce((a, b) => (off(b) < off(a) ? b : a));
}

export const bkVsKoala: Study = {
  name: "bk-vs-koala",
  title: "BK-SDM's way beside KOALA's",
  question:
    "At like size and the same budget, is KOALA's student with SA features better than BK-SDM's with LF?",
  paper: {
    where: "the table of KOALA-1B beside BK-Small (50K iterations, same data and backbone)",
    found: null,
  },
  needs: "unet",
  steps: 300,
  design(facts) {
    const rule = nearestRule(facts);
    return {
      made: [usualStudent(facts), { name: "bk-student", how: { kind: "cut", rule, keep: "first" } }],
      variants: [],
      arms: [
        baseline({ student: "KOALA", features: "none: no teacher" }),
        {
          name: "koala",
          factors: { student: "KOALA", features: "SA" },
          of: { run: distilled({ features: "koala" }) },
        },
        {
          name: "bk",
          factors: { student: `BK-SDM (${rule})`, features: "LF" },
          of: { run: distilled({ student: "@bk-student", features: "bk-sdm" }) },
        },
        {
          name: "koala-lf",
          factors: { student: "KOALA", features: "LF" },
          of: { run: distilled({ features: "bk-sdm" }) },
        },
        {
          name: "bk-sa",
          factors: { student: `BK-SDM (${rule})`, features: "SA" },
          of: { run: distilled({ student: "@bk-student", features: "koala" }) },
        },
      ],
      draws: [{ steps: fewerSteps }],
      baseline: "none",
      shows: "arms",
      remarks: [
        `Of BK-SDM's rules ${rule} gives the student nearest in size to KOALA's; the table has both sizes. Each features also on the other's student, to tell what the features do from what the student does.`,
      ],
    };
  },
};
