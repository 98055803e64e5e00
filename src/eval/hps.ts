/**
 * The score of HPSv2: a hundred times the cosine of picture and caption, under a CLIP that was taught people's preferences,
 * with pictures kept whole and padded (framing `pad`). With HPSv2's own ViT-H/14 weights it is HPSv2 (v2.0 and v2.1
 * differ and must not be mixed); with another CLIP it is only that CLIP's opinion.
 *
 * Source: Wu et al. 2023, arXiv:2306.09341; tgxs002/HPSv2 at 866735e, `score.py` and `evaluation.py`.
 */

import { type Estimate, meanEstimate } from "./chance.ts";

const scale = 100;

/** From the cosine of each padded picture with its caption. */
export const preferenceScore = (cosines: readonly number[], seed: number): Estimate =>
  meanEstimate(
    cosines.map((cos) => scale * cos),
    seed,
  );
