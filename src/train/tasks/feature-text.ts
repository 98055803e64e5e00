/** Which features a student learns, as text: `koala`, `bk-sdm`, `all`, or kinds with their stages: `SA,LF:DW-1+UP-3`. */

import { check } from "../../core/assert.ts";
import { nearest } from "../../core/nearest.ts";
import {
  type FeatureKind,
  type FeatureSelection,
  type FeatureSet,
  featureKinds,
  featureSets,
} from "../distill/sites.ts";

/**
 * A kind that is named more than once has the stages of all its mentions.
 * @throws KoalaError E_CONFIG with the nearest kind for one that is none, or the right form of stages
 */
export function parseFeatures(text: string): FeatureSet | FeatureSelection {
  const set = featureSets.find((name) => name === text);
  if (set !== undefined) return set;
  const selection: Partial<Record<FeatureKind, "all" | readonly string[]>> = {};
  for (const part of text.split(",")) {
    const [kind, stages] = kindOf(part.trim());
    const before = selection[kind] ?? [];
    const isAll = stages === "all" || before === "all";
    selection[kind] = isAll ? "all" : [...new Set([...before, ...stages])];
  }
  return selection;
}

/** `SA`, or `LF:DW-1+UP-3`. */
function kindOf(part: string): [FeatureKind, "all" | readonly string[]] {
  const [name = "", stages, ...more] = part.split(":");
  const kind = featureKinds.find((known) => known === name);
  const [near] = nearest(name, [...featureKinds, ...featureSets]);
  check(kind !== undefined, "E_CONFIG", () => ({
    where: "features",
    expected: `${featureSets.join(", ")}, or some of ${featureKinds.join(", ")} with their stages`,
    got: name === "" ? "nothing" : name,
    ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
  }));
  check(more.length === 0, "E_CONFIG", () => ({
    where: "features",
    expected: `stages with + between them: ${kind}:${[stages, ...more].join("+")}`,
    got: part,
  }));
  return [kind, stages === undefined ? "all" : stages.split("+")];
}
