/** Some of a study's arms: with the one that they are compared with, and only what they rest on. */

import { check } from "../../core/assert.ts";
import { isRef } from "./plan.ts";
import type { Arm, Design, Fields } from "./study.ts";

/** Names of models and data that a value speaks of: "@student" of "student". */
const mentioned = (value: unknown): string[] =>
  isRef(value) ? [value.slice(1)] : Array.isArray(value) ? value.flatMap(mentioned) : [];

const restsOn = (fields: Fields): string[] => Object.values(fields).flatMap(mentioned);

const ofArm = ({ of }: Arm): string[] => ("run" in of ? restsOn(of.run) : mentioned(of.model));

/**
 * The design with the arms of these names and its baseline, in its own order.
 * @throws KoalaError E_FLAG for a name that no arm has
 */
export function someArms(design: Design, names: readonly string[]): Design {
  const all = design.arms.map(({ name }) => name);
  for (const name of names)
    check(all.includes(name), "E_FLAG", () => ({
      where: "--arms",
      expected: `names among ${all.join(", ")}`,
      got: name === "" ? "an empty one" : name,
    }));
  const arms = design.arms.filter(({ name }) => names.includes(name) || name === design.baseline);
  const needed = new Set(arms.flatMap(ofArm));
  for (const { name, how } of [...design.made].reverse())
    if (needed.has(name) && how.kind === "run") for (const other of restsOn(how.fields)) needed.add(other);
  const left = all.filter((name) => !arms.some((arm) => arm.name === name));
  if (left.length === 0) return design;
  return {
    ...design,
    arms,
    made: design.made.filter(({ name }) => needed.has(name)),
    variants: design.variants.filter(({ name }) => needed.has(name)),
    remarks: [...design.remarks, `Not asked here, by --arms: ${left.join(", ")}.`],
  };
}
