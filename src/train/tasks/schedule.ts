/**
 * The noise that a model was, and will be, trained under, from its scheduler's file: ᾱ of each training step.
 * Source: diffusers' training scripts, which read it as a `DDPMScheduler`.
 */

import { check } from "../../core/assert.ts";
import { Fields, type Json } from "../../diffusion/fields.ts";
import { type Prediction, predictions } from "../../diffusion/prediction.ts";
import { noiseTable } from "../../diffusion/schedule.ts";

export interface TrainingNoise {
  readonly alphasCumprod: Float32Array;
  readonly prediction: Prediction;
}

/**
 * Of a parsed `scheduler_config.json`; `where` names the file in messages.
 * @throws KoalaError E_CONFIG for values that are not supported, and for ε where the last step is pure noise
 */
export function trainingNoise(config: Json, where: string): TrainingNoise {
  const f = new Fields(config, where);
  const zeroTerminalSnr = f.flag("rescale_betas_zero_snr", false);
  const prediction = f.oneOf("prediction_type", predictions, "epsilon");
  check(!zeroTerminalSnr || prediction !== "epsilon", "E_CONFIG", () => ({
    where: `${where} (prediction_type)`,
    expected:
      '"v_prediction" or "sample" with rescale_betas_zero_snr, since the last training step is all noise',
    got: `"${prediction}"`,
  }));
  const { alphasCumprod } = noiseTable({
    trainSteps: f.count("num_train_timesteps", 1000, 2),
    betaStart: f.number("beta_start", 0.0001), // DDPMScheduler's defaults
    betaEnd: f.number("beta_end", 0.02),
    betaSchedule: f.oneOf("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"], "linear"),
    trainedBetas: f.numbers("trained_betas"),
    zeroTerminalSnr,
    lastAlphaCumprod: 0,
  });
  return { alphasCumprod, prediction };
}
