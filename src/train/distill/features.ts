/**
 * Which intermediate values a student learns from its teacher's, as pairs of taps.
 *
 *   SA  self-attention's output, before the residual      `….transformer_blocks.l.attn1`
 *   CA  cross-attention's                                 `….transformer_blocks.l.attn2`
 *   FFN the feed-forward layer's                          `….transformer_blocks.l.ff`
 *   Res a ResNet's output                                 `….resnets.j`
 *   LF  the last feature of a stage                       `down_blocks.i`, `mid_block`, `up_blocks.i`, `transformer_blocks.l`
 *
 * What a stage is, the network says: `stages.ts` of a U-Net, `blocks.ts` of a diffusion transformer.
 * Source: KOALA (arXiv:2312.04005), figure 2 and the tables of features and stages; BK-SDM (arXiv:2305.15798) for LF.
 */

import { check } from "../../core/assert.ts";
import { nearest } from "../../core/nearest.ts";
import { tapsOf } from "../../graph/order.ts";
import type { DenoiserSize } from "../../pipeline/networks.ts";
import { type Shape, sameShape, show } from "../../tensor/shape.ts";
import { buildNetwork, type Network } from "../networks/network.ts";
import {
  type FeatureKind,
  type FeatureSelection,
  type FeatureSet,
  featureKinds,
  type SiteOptions,
} from "./sites.ts";

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

export interface FeatureOptions extends SiteOptions {
  /** A set by its name, or kinds with their stages; default KOALA's. */
  readonly features?: FeatureSet | FeatureSelection;
  /** Further pairs, by the names of any two taps. */
  readonly taps?: readonly (readonly [student: string, teacher: string])[];
  /** Of the pictures that the shapes are for. */
  readonly size: DenoiserSize;
}

/**
 * The pairs of taps whose difference is the feature loss, in the order of the network.
 * @throws KoalaError E_CONFIG that tells all that does not fit: unknown stages, features that a stage has not, shapes that differ
 */
export function featurePairs(teacher: Network, student: Network, o: FeatureOptions): FeaturePair[] {
  const sites = teacher.sites(student.json, o);
  const { features = "koala" } = o;
  const selection = typeof features === "string" ? sites.select(features) : features;
  const problems: string[] = [];
  const names = sites.stages.flatMap((stage) =>
    featureKinds.flatMap((kind): Omit<FeaturePair, "shape">[] => {
      const wanted = selection[kind];
      if (wanted !== "all" && wanted?.includes(stage) !== true) return [];
      const found = sites.pairs(stage, kind);
      if (wanted !== "all" && found.length === 0) problems.push(`${kind} at ${stage}: ${lacking(kind)}`);
      return found.map(([own, theirs]) => ({ kind, stage, student: own, teacher: theirs }));
    }),
  );
  problems.push(...unknownNames(selection, sites.stages));
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

function tapShapes(network: Network, size: DenoiserSize): Map<string, Shape> {
  const taps = tapsOf([buildNetwork(network, size).outputs.prediction]);
  return new Map([...taps].map(([name, { shape }]) => [name, shape]));
}

function unknownNames(selection: FeatureSelection, known: readonly string[]): string[] {
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
