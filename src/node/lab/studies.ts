/** The studies by name, and what of a teacher they can be asked of. */

import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { nearest } from "../../core/nearest.ts";
import { bkVsKoala } from "./studies/bk-vs-koala.ts";
import { data } from "./studies/data.ts";
import { ditKd } from "./studies/dit-kd.ts";
import { kdFeatures } from "./studies/kd-features.ts";
import { kdLayers } from "./studies/kd-layers.ts";
import { pcm } from "./studies/pcm.ts";
import { teacher } from "./studies/teacher.ts";
import { type Study, studyNames, type TeacherFacts } from "./study.ts";

/** In the order of the paper's argument. */
export const studies: readonly Study[] = [kdFeatures, kdLayers, bkVsKoala, data, teacher, pcm, ditKd];

/** @throws KoalaError E_FLAG with the nearest names when there is no such study */
export function studyOf(name: string): Study {
  const found = studies.find((study) => study.name === name);
  if (found !== undefined) return found;
  const [near] = nearest(name, studyNames);
  throw new KoalaError("E_FLAG", {
    where: "STUDY",
    expected: `one of ${studyNames.join(", ")}`,
    got: JSON.stringify(name),
    hint: near === undefined ? "koala lab --list tells what each asks." : `Did you mean ${near}?`,
  });
}

const called = { unet: "a U-Net", transformer: "a transformer, in PixArt's layout" } as const;

/** @throws KoalaError E_MODEL for a teacher of another kind than the study is about */
export function checkTeacher(study: Study, location: string, { kind }: Pick<TeacherFacts, "kind">): void {
  check(kind === study.needs, "E_MODEL", () => ({
    where: `${study.name}, ${location}`,
    expected: `a teacher with ${called[study.needs]}`,
    got: `one with ${called[kind]}`,
    hint: "Name another one with --teacher.",
  }));
}
