/** Which of a teacher's transformer blocks a student keeps and learns from. */

import type { Study } from "../study.ts";
import { baseline, deepest, distilled, fewerSteps, keepsTheSame, keptDepth, koalaRule } from "./parts.ts";

const choices = ["first", "last", "interleaved"] as const;

export const kdLayers: Study = {
  name: "kd-layers",
  title: "Which layers to keep and to learn from",
  question:
    "Are the first transformer blocks of a layer better to keep and to learn from than the last or every other one?",
  paper: {
    where: "the appendix's figure of cosine similarity between layers, and its ablation of layers",
    found: "the first layers of each stage matter most",
  },
  needs: "unet",
  steps: 300,
  design(facts) {
    const depth = keptDepth(facts);
    const distinct = choices.filter(
      (choice, i) => !choices.slice(0, i).some((earlier) => keepsTheSame(facts, depth, earlier, choice)),
    );
    const remarks = choices
      .filter((choice) => !distinct.includes(choice))
      .map(
        (choice) =>
          `${choice}: left out, since of this teacher's ${deepest(facts)} blocks a layer it keeps the same ${depth} as an arm that is there.`,
      );
    return {
      made: distinct.map((keep) => ({
        name: `student-${keep}`,
        how: { kind: "cut", rule: koalaRule(facts), keep, depth },
      })),
      variants: [],
      arms: [
        baseline({ layers: "none: no teacher, first kept" }, { student: "@student-first" }),
        ...distinct.map((keep) => ({
          name: keep,
          factors: { layers: keep },
          of: { run: distilled({ student: `@student-${keep}`, features: "koala" }) },
        })),
      ],
      draws: [{ steps: fewerSteps }],
      baseline: "none",
      shows: "arms",
      remarks,
    };
  },
};
