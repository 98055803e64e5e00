/** Which features to distil, and at which stages. */

import type { Arm, Study } from "../study.ts";
import { baseline, distilled, fewerSteps, usualStudent } from "./parts.ts";

const kinds = ["SA", "CA", "Res", "FFN", "LF"] as const;

const arm = (kind: string, stage: string | null): Arm => ({
  name: `${kind}${stage === null ? "" : `-${stage}`}`.toLowerCase(),
  factors: { features: kind, stages: stage ?? "all" },
  of: { run: distilled({ features: stage === null ? kind : `${kind}:${stage}` }) },
});

export const kdFeatures: Study = {
  name: "kd-features",
  title: "Which features to distil, and where",
  question: "Does a student learn more from self-attention than from other features, and at which stages?",
  paper: {
    where: "Tables 2 and 3 (features and stages of knowledge distillation, HPSv2)",
    found:
      "self-attention is the best of SA, CA, Res, FFN and LF; with LF alone, what an animal looks like leaks into another",
  },
  needs: "unet",
  steps: 300,
  design(facts, { isFull }) {
    const byStage = facts.stages.flatMap((stage) =>
      (isFull ? kinds : (["SA"] as const)).map((kind) => arm(kind, stage)),
    );
    return {
      made: [usualStudent(facts)],
      variants: [],
      arms: [
        baseline({ features: "none: no teacher", stages: "" }),
        {
          name: "output",
          factors: { features: "none: the teacher's output", stages: "" },
          of: { run: distilled({ featureWeight: 0 }) },
        },
        ...kinds.map((kind) => arm(kind, null)),
        ...byStage,
      ],
      draws: [{ steps: fewerSteps }],
      baseline: "none",
      shows: "arms",
      remarks: isFull
        ? []
        : ["Stages one by one are asked of SA alone, as in the paper; --full asks them of every feature."],
    };
  },
};
