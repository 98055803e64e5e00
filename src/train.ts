/** The door `koala-diffusion/train`: runs and their schema, trainers, data, cutting and distilling. */

export {
  bytesOf,
  type ClipRun,
  type CommonRun,
  type DenoiserRun,
  type DistillRun,
  type OptimizerName,
  optimizerNames,
  parseRun,
  type Run,
  type RunField,
  type RunKind,
  runFields,
  runKinds,
  type TransformerRun,
  type UNetRun,
  type VaeRun,
} from "./train/config.ts";
export {
  type Batch as LoadedBatch,
  batchLoader,
  type Loader,
  type PreparedData,
} from "./train/data/loader.ts";
export type { DataSource, RawSample } from "./train/data/sample.ts";
export { type Cut, type CutOptions, cutStore, cutUNet } from "./train/distill/cut.ts";
export { type FeatureOptions, type FeaturePair, featurePairs } from "./train/distill/features.ts";
export { type DistillOptions, type DistillWeights, distillLoss } from "./train/distill/loss.ts";
export { type CutRuleName, cutRuleNames, cutRules } from "./train/distill/rules.ts";
export { networkSide, type Side, targetSide } from "./train/distill/sides.ts";
export { ditNetwork } from "./train/networks/dit.ts";
export { type Network, networkInputs } from "./train/networks/network.ts";
export { unetNetwork } from "./train/networks/unet.ts";
export { adafactor } from "./train/optim/adafactor.ts";
export { adam8bit, adam16bit, adamW } from "./train/optim/adam.ts";
export { type MuonOptions, muon } from "./train/optim/muon.ts";
export { type Optimizer, sgd } from "./train/optim/transform.ts";
export {
  type Measures,
  optimizerOf,
  type RunEnd,
  type RunPlace,
  type StepRecord,
  trainerOf,
  trainingLoop,
} from "./train/run.ts";
export { learningRate, type Rate } from "./train/schedule-lr.ts";
export type { Objective } from "./train/segments.ts";
export { openState, type StoredState, stateFile, type TrainingState } from "./train/state.ts";
export { type ClipTaskOptions, clipTask } from "./train/tasks/clip.ts";
export { type DenoiserTaskOptions, denoiserTask } from "./train/tasks/denoiser.ts";
export { type DistillTaskOptions, distillTask } from "./train/tasks/distill.ts";
export { freshStore } from "./train/tasks/fresh.ts";
export type { NoisedOptions } from "./train/tasks/noised.ts";
export { type TrainingNoise, trainingNoise } from "./train/tasks/schedule.ts";
export type { Task } from "./train/tasks/task.ts";
export type { AnswerStore } from "./train/tasks/turns.ts";
export { type PatchOptions, type VaeTaskOptions, vaeTask } from "./train/tasks/vae.ts";
export { type VaeMeter, vaeMeter } from "./train/tasks/vae-measure.ts";
export {
  type Batch,
  createTrainer,
  type StepReport,
  type Trainer,
  type TrainerOptions,
} from "./train/trainer.ts";
