/** The door `koala-diffusion/eval`: a scorer, and the metrics of pictures as functions of its features. */

export { bootstrap, type Estimate, meanEstimate } from "./eval/chance.ts";
export { type ClipScore, clipScore } from "./eval/clip-score.ts";
export { cosine, type Features, pairedCosines } from "./eval/features.ts";
export { frechet } from "./eval/frechet.ts";
export { preferenceScore } from "./eval/hps.ts";
export { type KernelDistance, kernelDistance, kid } from "./eval/kid.ts";
export { type Material, type Measured, type MetricName, measure, metricNames } from "./eval/measure.ts";
export { type Nearness, type Neighbour, nearestPictures, nearness } from "./eval/nearest.ts";
export { type Framing, type Preprocessing, preprocessing } from "./eval/preprocess.ts";
export {
  answers,
  type Caption,
  type Question,
  questions,
  type RPrecision,
  rPrecision,
} from "./eval/r-precision.ts";
export {
  openReconstructor,
  type Reconstruction,
  type Reconstructor,
  reconstruction,
} from "./eval/reconstruction.ts";
export { openScorer, type Scorer, type ScorerOptions } from "./eval/scorer.ts";
export { resample } from "./image/resample.ts";
