/** Many small pictures with short captions against few at full resolution with rich ones. */

import type { Arm, Study, Variant } from "../study.ts";
import { baseline, distilled, fewerSteps, usualStudent } from "./parts.ts";

const few = 8;
const small = 4;

const variant = (isMany: boolean, isFull: boolean): Variant => ({
  name: `${isMany ? "many" : "few"}-${isFull ? "full-rich" : "small-short"}`,
  every: isMany ? 1 : few,
  shrink: isFull ? 1 : small,
  captions: isFull ? "rich" : "short",
});

const variants = [
  variant(true, false),
  variant(false, true),
  variant(false, false),
  variant(true, true),
] as const;

const arm = ({ name, every, shrink, captions }: Variant): Arm => ({
  name,
  variant: name,
  factors: {
    pictures: every === 1 ? "many" : "few",
    resolution: shrink === 1 ? "full" : `1/${shrink} of each side`,
    captions,
  },
  // pictures that were made small are learned at the model's size like all others
  of: { run: distilled({ features: "koala", data: [`@${name}`], minSide: 1 }) },
});

export const data: Study = {
  name: "data",
  title: "Many small pictures, or few good ones",
  question:
    "Is a student taught better by many low-resolution pictures with short captions, or by few at full resolution with rich captions?",
  paper: {
    where: "the table of training data (pictures, AR, ACL, HPSv2, CompBench)",
    found:
      "few pictures of high resolution with rich captions are better than many of low resolution with short ones",
  },
  needs: "unet",
  steps: 300,
  design: (facts) => ({
    made: [usualStudent(facts)],
    variants,
    arms: [
      { ...baseline({ pictures: "many", resolution: "full", captions: "all; no teacher" }) },
      ...variants.map(arm),
    ],
    draws: [{ steps: fewerSteps }],
    baseline: "none",
    shows: "arms",
    remarks: [
      `Few is one picture in ${few}; small is a side divided by ${small}. Short and rich are the captions of a picture with the fewest and the most words.`,
      "The teacher has learned from all of the pictures; what differs here is what the student sees.",
    ],
  }),
};
