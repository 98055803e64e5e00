/** Phased consistency distillation on the base backbone and on KOALA's. */

import type { CutRuleName } from "../../../train/distill/rules.ts";
import type { Arm, Made, Ref, Study, TeacherFacts } from "../study.ts";
import { distilled, keptDepth, koalaRule, phased } from "./parts.ts";

const manySteps = 25;
const phases = 4;

interface Backbone {
  readonly name: string;
  readonly label: string;
  readonly made: readonly Made[];
}

/** KOALA's two students; a teacher without a middle block has only the one without. */
function backbones(facts: TeacherFacts): Backbone[] {
  const rules: CutRuleName[] = facts.isXL && facts.hasMid ? ["koala-1b", "koala-700m"] : [koalaRule(facts)];
  return rules.map((rule) => ({
    name: rule,
    label: rule,
    made: [
      { name: `${rule}-cut`, how: { kind: "cut", rule, keep: "first", depth: keptDepth(facts) } },
      {
        name: rule,
        how: { kind: "run", fields: distilled({ student: `@${rule}-cut`, features: "koala" }) },
      },
    ],
  }));
}

const plain = (name: string, label: string, model: Ref): Arm => ({
  name,
  factors: { backbone: label, PCM: "no" },
  of: { model },
  draws: [{ steps: manySteps }, { steps: phases }],
});

const withPcm = (facts: TeacherFacts, name: string, label: string, model: Ref): Arm => ({
  name: `pcm-${name}`,
  factors: { backbone: label, PCM: "yes" },
  of: { run: phased(facts, model, phases) },
  draws: [{ steps: phases }],
});

export const pcm: Study = {
  name: "pcm",
  title: "Phased consistency on base and KOALA backbones",
  question:
    "Does phased consistency distillation bring a KOALA backbone to few steps as it does the base model?",
  paper: {
    where:
      "the table of PCM with SDXL-Base, KOALA-1B and KOALA-700M (steps, parameters, memory, latency, HPS, CompBench)",
    found: null,
  },
  needs: "unet",
  steps: 300,
  design(facts) {
    const students = backbones(facts);
    return {
      made: students.flatMap(({ made }) => made),
      variants: [],
      arms: [
        plain("base", "base", "@teacher"),
        withPcm(facts, "base", "base", "@teacher"),
        ...students.flatMap(({ name, label }) => [
          plain(name, label, `@${name}`),
          withPcm(facts, name, label, `@${name}`),
        ]),
      ],
      draws: [{ steps: phases }],
      baseline: "base",
      shows: "arms",
      remarks: [
        `The arm without distillation is the base model at ${manySteps} steps. PCM teaches each backbone by itself: what it learns is the way that it goes in many steps.`,
      ],
    };
  },
};
