/** What several studies share: the student that KOALA's rule cuts, and arms without and with a teacher. */

import { keptBlocks } from "../../../train/distill/layers.ts";
import type { CutRuleName } from "../../../train/distill/rules.ts";
import type { Arm, Fields, Made, Ref, TeacherFacts } from "../study.ts";

/** KOALA-1B's share of SDXL's transformer blocks: 6 of 10. A teacher of two blocks a layer keeps one. */
const keptShare = 0.6;

export const deepest = ({ depths }: TeacherFacts): number => Math.max(1, ...depths);

export const keptDepth = (facts: TeacherFacts): number => Math.max(1, Math.round(keptShare * deepest(facts)));

/** The rule nearest to KOALA-1B's that fits the teacher. */
export function koalaRule({ hasMid, isXL }: TeacherFacts): CutRuleName {
  if (isXL) return hasMid ? "koala-1b" : "koala-700m";
  return hasMid ? "bk-sdm-base" : "bk-sdm-small";
}

/** The usual student, cut by that rule to that depth. */
export const usualStudent = (facts: TeacherFacts): Made => ({
  name: "student",
  how: { kind: "cut", rule: koalaRule(facts), keep: "first", depth: keptDepth(facts) },
});

/** Learns by its teacher; further fields say what. */
export const distilled = (more: Fields = {}): Fields => ({
  ...{ kind: "distill", teacher: "@teacher", student: "@student" },
  ...more,
});

/** Learns from the pictures alone. */
export const alone = (more: Fields = {}): Fields => distilled({ outputWeight: 0, featureWeight: 0, ...more });

/** The usual arm without distillation. */
export const baseline = (factors: Arm["factors"], more: Fields = {}): Arm => ({
  name: "none",
  factors,
  of: { run: alone(more) },
});

/** Whether two choices of a layer's blocks are the same in every layer of the teacher. */
export const keepsTheSame = (
  { depths }: TeacherFacts,
  depth: number,
  a: "first" | "last" | "interleaved",
  b: "first" | "last" | "interleaved",
): boolean =>
  depths.every((n) => keptBlocks(a, n, depth, 0, "").join() === keptBlocks(b, n, depth, 0, "").join());

/** Step distillation by PCM, guided about as the teacher is when it draws. The rate is for a small network, of which all weights learn. */
export const phased = ({ guidance }: TeacherFacts, teacher: Ref, phases: number): Fields => ({
  ...{ kind: "consistency", method: "pcm", teacher, phases, rate: 1e-4 },
  ...{ guidanceFrom: Math.max(1, guidance - 0.5), guidanceTo: Math.max(1, guidance) + 0.5 },
});

/** Sampling steps for arms whose pictures only compare with each other: half of what the models usually take. */
export const fewerSteps = 12;
