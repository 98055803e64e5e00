/**
 * Which intermediate values a student learns from its teacher's, as pairs of taps.
 *
 *   SA  self-attention's output, before the residual      `….transformer_blocks.l.attn1`
 *   CA  cross-attention's                                 `….transformer_blocks.l.attn2`
 *   FFN the feed-forward layer's                          `….transformer_blocks.l.ff`
 *   Res a ResNet's output                                 `….resnets.j`
 *   LF  the last feature of a stage, after its sampler    `down_blocks.i`, `mid_block`, `up_blocks.i`
 *
 * Stages are called DW-1 (finest) to DW-n, Mid, UP-1 (coarsest) to UP-n, by the student's own blocks.
 * Source: KOALA (arXiv:2312.04005), figure 2 and the tables of features and stages; BK-SDM (arXiv:2305.15798) for LF.
 */

import { check } from "../../core/assert.ts";
import { nearest } from "../../core/nearest.ts";
import { tapsOf } from "../../graph/order.ts";
import { buildUNet, type UNetSize } from "../../models/unet.ts";
import type { UNetConfig } from "../../models/unet-config.ts";
import { type Shape, sameShape, show } from "../../tensor/shape.ts";
import { type LayerMap, matchedBlocks } from "./layers.ts";
import { type CutPlan, originOf } from "./plan.ts";
import { alignment, hasTransformer, type Stage, stagesOf } from "./stages.ts";

export type FeatureKind = "SA" | "CA" | "FFN" | "Res" | "LF";
export const featureKinds: readonly FeatureKind[] = ["SA", "CA", "FFN", "Res", "LF"];

/** Stages of each kind; `all` is every stage where student and teacher both have it. */
export type FeatureSelection = Readonly<Partial<Record<FeatureKind, "all" | readonly string[]>>>;

/** KOALA's choice, BK-SDM's, and everything. */
export type FeatureSet = "koala" | "bk-sdm" | "all";
export const featureSets: readonly FeatureSet[] = ["koala", "bk-sdm", "all"];

export interface FeaturePair {
  /** `tap` for a pair that was asked for by its names. */
  readonly kind: FeatureKind | "tap";
  /** "" where it was asked for by its names. */
  readonly stage: string;
  /** Names of taps. */
  readonly student: string;
  readonly teacher: string;
  readonly shape: Shape;
}

export interface FeatureOptions {
  /** A set by its name, or kinds with their stages; default KOALA's. */
  readonly features?: FeatureSet | FeatureSelection;
  /** How the student was cut: then each of its blocks learns from the one that it came from, unless `map` says otherwise. */
  readonly plan?: CutPlan;
  /** Which of the teacher's transformer blocks the student's learn from; default `first`: those of the same index. */
  readonly map?: LayerMap;
  /** Further pairs, by the names of any two taps. */
  readonly taps?: readonly (readonly [student: string, teacher: string])[];
  /** Of the pictures that the shapes are for. */
  readonly size: UNetSize;
}

/**
 * The pairs of taps whose difference is the feature loss, in the order of the network.
 * @throws KoalaError E_CONFIG that tells all that does not fit: unknown stages, features that a stage has not, shapes that differ
 */
export function featurePairs(teacher: UNetConfig, student: UNetConfig, o: FeatureOptions): FeaturePair[] {
  const plan = o.plan ?? alignment(teacher, student);
  const stages = stagesOf(teacher, student, plan);
  const { features = "koala" } = o;
  const selection = typeof features === "string" ? selectionOf(features, stages) : features;
  const problems: string[] = [];
  const names = stages.flatMap((stage) =>
    featureKinds.flatMap((kind): Omit<FeaturePair, "shape">[] => {
      const wanted = selection[kind];
      if (wanted !== "all" && wanted?.includes(stage.name) !== true) return [];
      const found = pairsOf(stage, kind, plan, o);
      if (wanted !== "all" && found.length === 0) problems.push(`${kind} at ${stage.name}: ${lacking(kind)}`);
      return found.map(([own, theirs]) => ({ kind, stage: stage.name, student: own, teacher: theirs }));
    }),
  );
  problems.push(...unknownNames(selection, stages));
  const own = tapShapes(student, o.size);
  const theirs = tapShapes(teacher, o.size);
  for (const [ours, teachers] of o.taps ?? [])
    names.push({ kind: "tap", stage: "", student: ours, teacher: teachers });
  const pairs = names.map((pair) => ({ ...pair, shape: own.get(pair.student) ?? [] }));
  for (const pair of pairs) problems.push(...misfit(pair, own, theirs));
  check(problems.length === 0, "E_CONFIG", () => ({
    where: "features",
    expected: "features that student and teacher both have, of one shape",
    got: problems.length === 1 ? "one that does not fit" : `${problems.length} that do not fit`,
    hint: shortened(problems).join("\n"),
  }));
  check(pairs.length > 0, "E_CONFIG", () => ({
    where: "features",
    expected: "at least one feature of one stage",
    got: "none",
  }));
  return pairs;
}

/** Lines of detail in the error, enough for a screen. */
const MOST_LINES = 9;

const shortened = (lines: readonly string[]): string[] =>
  lines.length <= MOST_LINES
    ? [...lines]
    : [...lines.slice(0, MOST_LINES - 1), `and ${lines.length - MOST_LINES + 1} more`];

const lacking = (kind: FeatureKind): string =>
  kind === "LF" || kind === "Res"
    ? "there is none to learn from"
    : "the stage has no transformer on both sides";

/** BK-SDM hooks the blocks of both ways, not the middle (`kd_train_text_to_image.py` at e13670c). */
function selectionOf(set: FeatureSet, stages: readonly Stage[]): FeatureSelection {
  const names = (keep: (stage: Stage) => boolean): string[] => stages.filter(keep).map(({ name }) => name);
  switch (set) {
    case "koala":
      return { SA: "all", LF: names((stage) => !hasTransformer(stage)) };
    case "bk-sdm":
      return { LF: names(({ name }) => name !== "Mid") };
    case "all":
      return { SA: "all", CA: "all", FFN: "all", Res: "all", LF: "all" };
  }
}

/** Student's and teacher's taps of that kind in that stage; none where one of them has no such thing. */
function pairsOf(
  stage: Stage,
  kind: FeatureKind,
  plan: CutPlan,
  o: FeatureOptions,
): [student: string, teacher: string][] {
  const { path, depths, resnets, teacher, lacksSampler } = stage;
  const same = (name: string): [string, string] => [name, originOf(plan, name)];
  switch (kind) {
    case "LF": {
      if (!lacksSampler) return [same(path)];
      // The teacher's last layer before its sampler, as near as it has one to what the student's stage gives.
      const part = hasTransformer(stage) ? "attentions" : "resnets";
      const theirs = `${originOf(plan, path)}.${part}.${teacher.depths.length - 1}`;
      return [[`${path}.${part}.${depths.length - 1}`, theirs]];
    }
    case "Res":
      return Array.from({ length: resnets }, (_, j) => same(`${path}.resnets.${j}`));
    default:
      return depths.flatMap((depth, j) =>
        blockPairs(`${path}.attentions.${j}`, depth, suffixes[kind], stage, plan, o),
      );
  }
}

const suffixes = { SA: "attn1", CA: "attn2", FFN: "ff" } as const;

function blockPairs(
  student: string,
  depth: number,
  suffix: string,
  { teacher: { depths } }: Stage,
  plan: CutPlan,
  o: FeatureOptions,
): [string, string][] {
  const teacher = originOf(plan, student);
  const available = depths[Number(/\d+$/.exec(teacher)?.[0])] ?? 0;
  if (available === 0) return [];
  const tap = (place: string, block: number): string => `${place}.transformer_blocks.${block}.${suffix}`;
  if (o.plan !== undefined && o.map === undefined) {
    return Array.from({ length: depth }, (_, l) => [tap(student, l), originOf(plan, tap(student, l))]);
  }
  // A student deeper than its teacher has blocks without a match: their names show up as missing.
  const identity = Array.from({ length: depth }, (_, l) => [l]);
  const matched = depth > available ? identity : matchedBlocks(o.map ?? "first", available, depth);
  return matched.flatMap((theirs, l) =>
    theirs.map((block): [string, string] => [tap(student, l), tap(teacher, block)]),
  );
}

function tapShapes(c: UNetConfig, size: UNetSize): Map<string, Shape> {
  const taps = tapsOf([buildUNet(c, size).outputs.prediction]);
  return new Map([...taps].map(([name, { shape }]) => [name, shape]));
}

function unknownNames(selection: FeatureSelection, stages: readonly Stage[]): string[] {
  const known = stages.map(({ name }) => name);
  return Object.entries(selection).flatMap(([kind, wanted]) => {
    if (!(featureKinds as readonly string[]).includes(kind))
      return [`${kind}: no such feature; they are ${featureKinds.join(", ")}`];
    if (wanted === "all") return [];
    return wanted
      .filter((name) => !known.includes(name))
      .map((name) => `${kind} at ${name}: no such stage on both sides; they are ${known.join(", ")}`);
  });
}

function misfit(
  { student, teacher, shape }: FeaturePair,
  own: ReadonlyMap<string, Shape>,
  theirs: ReadonlyMap<string, Shape>,
): string[] {
  const missing = (side: string, name: string, taps: ReadonlyMap<string, Shape>): string[] => {
    if (taps.has(name)) return [];
    const near = nearest(name, taps.keys(), 2);
    return [`${name}: the ${side} has no such tap${near.length === 0 ? "" : `; it has ${near.join(", ")}`}`];
  };
  const lost = [...missing("student", student, own), ...missing("teacher", teacher, theirs)];
  if (lost.length > 0) return lost;
  const other = theirs.get(teacher) ?? [];
  return sameShape(shape, other)
    ? []
    : [`${student}: ${show(shape)} in the student, ${show(other)} in the teacher's ${teacher}`];
}
