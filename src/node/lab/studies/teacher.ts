/** Students of a base teacher and of teachers that need few steps, drawn with few and many steps. */

import type { Arm, Ref, Study } from "../study.ts";
import { alone, distilled, phased, usualStudent } from "./parts.ts";

/** A student that learns from the teacher alone: what a step-distilled teacher says is not the noise that was added. */
const studentOf = (name: string, teacher: Ref, label: string): Arm => ({
  name,
  factors: { model: `student of ${label}` },
  of: { run: distilled({ teacher, features: "koala", taskWeight: 0 }) },
});

export const teacher: Study = {
  name: "teacher",
  title: "Teachers that need few steps",
  question:
    "Does a student of a step-distilled teacher draw well in fewer steps than a student of the base teacher?",
  paper: {
    where: "the figure of HPSv2 over sampling steps for students of SDXL-Base, SDXL-Turbo and SDXL-Lightning",
    found: "step-distilled teachers let the student use few steps",
  },
  needs: "unet",
  steps: 300,
  design: (facts) => ({
    made: [
      usualStudent(facts),
      { name: "turbo", how: { kind: "run", fields: phased(facts, "@teacher", 2) } },
      { name: "lightning", how: { kind: "run", fields: phased(facts, "@teacher", 4) } },
    ],
    variants: [],
    arms: [
      { name: "none", factors: { model: "student without a teacher" }, of: { run: alone() } },
      studentOf("base", "@teacher", "the base teacher"),
      studentOf("turbo", "@turbo", "the Turbo-like teacher"),
      studentOf("lightning", "@lightning", "the Lightning-like teacher"),
      { name: "teacher-base", factors: { model: "the base teacher" }, of: { model: "@teacher" } },
      { name: "teacher-turbo", factors: { model: "the Turbo-like teacher" }, of: { model: "@turbo" } },
      {
        name: "teacher-lightning",
        factors: { model: "the Lightning-like teacher" },
        of: { model: "@lightning" },
      },
    ],
    draws: [1, 2, 3, 4, 6, 8, 10].map((steps) => ({ steps })),
    baseline: "none",
    shows: "steps",
    remarks: [
      "The Turbo-like and the Lightning-like teacher are the base one after phased consistency distillation with its adversarial term, with 2 and with 4 phases (docs/few-steps.md): SDXL-Turbo and SDXL-Lightning themselves would need their own sizes.",
      "Students learn from the teacher alone, without the task term: a step-distilled teacher's answer is not the noise that was added, and both terms would pull apart.",
    ],
  }),
};
