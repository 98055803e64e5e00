/**
 * CLIPScore: how well a picture fits its caption, 2.5 · max(cos, 0).
 *
 * Source: Hessel et al. 2021, arXiv:2104.08718, section 3 (w = 2.5; with CLIP ViT-B/32). BK-SDM reports the plain cosine.
 */

import { type Estimate, meanEstimate } from "./chance.ts";

const w = 2.5;

export interface ClipScore {
  /** Mean of w · max(cos, 0). */
  readonly score: Estimate;
  /** Mean of the cosine itself. */
  readonly cosine: Estimate;
}

/** From the cosine of each picture with its caption. */
export const clipScore = (cosines: readonly number[], seed: number): ClipScore => ({
  score: meanEstimate(
    cosines.map((cos) => w * Math.max(cos, 0)),
    seed,
  ),
  cosine: meanEstimate(cosines, seed),
});
