/** Where a student and its teacher can be compared: what each architecture answers, and what features are called. */

import type { LayerMap } from "./layers.ts";
import type { CutPlan } from "./plan.ts";

/**
 *   SA  self-attention's output, before the residual
 *   CA  cross-attention's
 *   FFN the feed-forward layer's
 *   Res a ResNet's output
 *   LF  the last feature of a stage
 */
export type FeatureKind = "SA" | "CA" | "FFN" | "Res" | "LF";
export const featureKinds: readonly FeatureKind[] = ["SA", "CA", "FFN", "Res", "LF"];

/** Ends of a tap's name, after its transformer block's. */
export const suffixes = { SA: "attn1", CA: "attn2", FFN: "ff" } as const;

/** Stages of each kind; `all` is every stage where student and teacher both have it. */
export type FeatureSelection = Readonly<Partial<Record<FeatureKind, "all" | readonly string[]>>>;

/** KOALA's choice, BK-SDM's, and everything. */
export type FeatureSet = "koala" | "bk-sdm" | "all";
export const featureSets: readonly FeatureSet[] = ["koala", "bk-sdm", "all"];

export const everything: FeatureSelection = { SA: "all", CA: "all", FFN: "all", Res: "all", LF: "all" };

export interface SiteOptions {
  /** How the student was cut: then each of its blocks learns from the one that it came from, unless `map` says otherwise. */
  readonly plan?: CutPlan;
  /** Which of the teacher's transformer blocks the student's learn from; default `first`: those of the same index. */
  readonly map?: LayerMap;
}

export interface Sites {
  /** Names of the stages that both have, in the order of the network. */
  readonly stages: readonly string[];
  /** What a set stands for. */
  select(set: FeatureSet): FeatureSelection;
  /** Taps of that kind in that stage; none where one of the two has no such thing. */
  pairs(stage: string, kind: FeatureKind): readonly (readonly [student: string, teacher: string])[];
}
