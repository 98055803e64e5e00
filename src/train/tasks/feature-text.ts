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

/** @throws KoalaError E_CONFIG with the nearest kind for one that is none */
export function parseFeatures(text: string): FeatureSet | FeatureSelection {
  const set = featureSets.find((name) => name === text);
  if (set !== undefined) return set;
  const parts = text.split(",").map((part) => part.trim());
  return Object.fromEntries(
    parts.map((part): [FeatureKind, "all" | string[]] => {
      const [name = "", stages] = part.split(":");
      const kind = featureKinds.find((known) => known === name);
      const [near] = nearest(name, [...featureKinds, ...featureSets]);
      check(kind !== undefined, "E_CONFIG", () => ({
        where: "features",
        expected: `${featureSets.join(", ")}, or some of ${featureKinds.join(", ")} with their stages`,
        got: name === "" ? "nothing" : name,
        ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
      }));
      return [kind, stages === undefined ? "all" : stages.split("+")];
    }),
  );
}
