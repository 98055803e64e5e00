/** Which features of a diffusion transformer to distil. */

import type { Arm, Study } from "../study.ts";
import { baseline, deepest, distilled, fewerSteps } from "./parts.ts";

const kinds = ["SA", "CA", "FFN", "LF"] as const;

/** Of the teacher's blocks. */
const keptShare = 0.5;

const arm = (kind: string): Arm => ({
  name: kind.toLowerCase(),
  factors: { features: kind },
  of: { run: distilled({ features: kind }) },
});

export const ditKd: Study = {
  name: "dit-kd",
  title: "Which features of a transformer to distil",
  question: "Does a shallower diffusion transformer learn more from self-attention than from other features?",
  paper: {
    where: "the table of knowledge distillation on PixArt-Σ (SA, CA, FFN and LF as BK-SDM)",
    found: "self-attention is the best there too",
  },
  needs: "transformer",
  steps: 300,
  design(facts) {
    const blocks = Math.max(1, Math.round(keptShare * deepest(facts)));
    return {
      made: [{ name: "student", how: { kind: "cut", rule: `pixart-${blocks}`, keep: "interleaved" } }],
      variants: [],
      arms: [
        baseline({ features: "none: no teacher" }),
        {
          name: "output",
          factors: { features: "none: the teacher's output" },
          of: { run: distilled({ featureWeight: 0 }) },
        },
        ...kinds.map(arm),
      ],
      draws: [{ steps: fewerSteps }],
      baseline: "none",
      shows: "arms",
      remarks: [
        `The student has ${blocks} of the teacher's ${deepest(facts)} blocks, spread over its depth. The first ones would be copies that read what the teacher's read: SA, CA and FFN would begin at 0, and only hold them in place.`,
      ],
    };
  },
};
