/**
 * From diffusers' `scheduler_config.json` to something that samples: which levels, which method, what the network
 * predicts. Defaults of absent fields are those of each class in diffusers 0.42.
 */

import { check } from "../core/assert.ts";
import { Fields, type Json } from "./fields.ts";
import type { Denoise, Noise, Plan, PlanStep, SampleStep } from "./plan.ts";
import { ddimPlan, dpmPlan, eulerPlan, lcmPlan, pndmPlan, rungeKuttaCalls } from "./plans.ts";
import { inputScale, type Prediction, predictions, toDenoised } from "./prediction.ts";
import { ddim } from "./samplers/ddim.ts";
import { dpmpp2m } from "./samplers/dpmpp-2m.ts";
import { euler } from "./samplers/euler.ts";
import { eulerAncestral } from "./samplers/euler-ancestral.ts";
import { lcm } from "./samplers/lcm.ts";
import { pndm } from "./samplers/pndm.ts";
import { type NoiseTable, noiseTable, roundEven, type Spacing } from "./schedule.ts";

/** The names that a request may give. */
export const schedulerNames = [
  "euler",
  "euler-a",
  "ddim",
  "pndm",
  "dpmpp-2m",
  "dpmpp-2m-karras",
  "lcm",
] as const;
export type SchedulerName = (typeof schedulerNames)[number];

/** What the network says (after guidance) to `x`, which is scaled as it was trained; flat, the same length. */
export type Predict = (x: Float32Array, step: PlanStep) => Promise<Float32Array>;

export interface Scheduler {
  readonly name: SchedulerName;
  readonly prediction: Prediction;
  /** The levels of a run. @throws KoalaError E_REQUEST for a count that the method cannot take */
  plan(steps: number): Plan;
  /**
   * Runs `plan` from `x` (flat; unit noise times `plan.initNoiseSigma`). `noise` gives fresh unit noise of the
   * same length; only some samplers ask.
   */
  sample(predict: Predict, x: Float32Array, plan: Plan, noise: Noise): AsyncGenerator<SampleStep>;
}

/** A method with its levels, blind to the network. */
interface Method {
  readonly name: SchedulerName;
  readonly prediction: Prediction;
  plan(steps: number): Plan;
  run(denoise: Denoise, x: Float32Array, plan: Plan, noise: Noise): AsyncGenerator<SampleStep>;
}

type Maker = (f: Fields) => Method;

/** What to do where a model's own method is not there. */
const otherMethods = `Any model can be sampled by another method: set the scheduler to one of ${schedulerNames.join(", ")}.`;

const spacings = ["linspace", "leading", "trailing"] as const satisfies readonly Spacing[];

function tableOf(
  f: Fields,
  defaults: { betaStart?: number; betaEnd?: number; scaled?: boolean; last?: number },
): NoiseTable {
  return noiseTable({
    trainSteps: f.count("num_train_timesteps", 1000, 2),
    betaStart: f.number("beta_start", defaults.betaStart ?? 0.0001),
    betaEnd: f.number("beta_end", defaults.betaEnd ?? 0.02),
    betaSchedule: f.oneOf(
      "beta_schedule",
      ["linear", "scaled_linear", "squaredcos_cap_v2"],
      defaults.scaled ? "scaled_linear" : "linear",
    ),
    trainedBetas: f.numbers("trained_betas"),
    zeroTerminalSnr: defaults.last !== undefined && f.flag("rescale_betas_zero_snr", false),
    lastAlphaCumprod: defaults.last ?? 0,
  });
}

/** What ᾱ = 0 is replaced by where σ must stay finite: the least float16 above zero, as in diffusers. */
const leastAlpha = 2 ** -24;

const spacingOf = (f: Fields, fallback: Spacing): { spacing: Spacing; offset: number } => ({
  spacing: f.oneOf("timestep_spacing", spacings, fallback),
  offset: f.count("steps_offset", 0, 0),
});

const predictionOf = (f: Fields, supported: readonly Prediction[] = predictions): Prediction =>
  f.oneOf("prediction_type", supported, "epsilon");

const clipOf = (f: Fields, fallback: boolean): number | null =>
  f.flag("clip_sample", fallback) ? f.number("clip_sample_range", 1) : null;

const makers: Readonly<Record<string, Maker>> = {
  EulerDiscreteScheduler: (f) => {
    f.mustBeOff("use_exponential_sigmas", "use_beta_sigmas");
    f.oneOf("interpolation_type", ["linear"], "linear");
    f.oneOf("timestep_type", ["discrete"], "discrete");
    const table = tableOf(f, { last: leastAlpha });
    const o = {
      ...spacingOf(f, "linspace"),
      withKarras: f.flag("use_karras_sigmas", false),
      sigmaMin: f.number("sigma_min", null),
      sigmaMax: f.number("sigma_max", null),
      final: f.oneOf("final_sigmas_type", ["zero", "sigma_min"], "zero"),
    };
    return {
      name: "euler",
      prediction: predictionOf(f),
      plan: (steps) => eulerPlan(table, steps, o),
      run: euler,
    };
  },

  EulerAncestralDiscreteScheduler: (f) => {
    const table = tableOf(f, { last: leastAlpha });
    const plain = { withKarras: false, sigmaMin: null, sigmaMax: null, final: "zero" } as const;
    const o = { ...spacingOf(f, "linspace"), ...plain };
    return {
      name: "euler-a",
      prediction: predictionOf(f),
      plan: (steps) => eulerPlan(table, steps, o),
      run: eulerAncestral,
    };
  },

  DDIMScheduler: (f) => {
    f.mustBeOff("thresholding");
    const table = tableOf(f, { last: 0 });
    const o = { ...spacingOf(f, "leading"), endsClean: f.flag("set_alpha_to_one", true) };
    const clip = clipOf(f, true);
    return {
      name: "ddim",
      prediction: predictionOf(f),
      plan: (steps) => ddimPlan(table, steps, o),
      run: (denoise, x, plan) => ddim(denoise, x, plan, clip),
    };
  },

  PNDMScheduler: (f) => {
    const table = tableOf(f, {});
    const withRungeKutta = !f.flag("skip_prk_steps", false);
    const o = { ...spacingOf(f, "leading"), endsClean: f.flag("set_alpha_to_one", false), withRungeKutta };
    const prediction = predictionOf(f, ["epsilon", "v_prediction"]);
    const options = { prediction, rungeKuttaCalls: withRungeKutta ? rungeKuttaCalls : 0 };
    return {
      name: "pndm",
      prediction,
      plan: (steps) => pndmPlan(table, steps, o),
      run: (denoise, x, plan) => pndm(denoise, x, plan, options),
    };
  },

  DPMSolverMultistepScheduler: (f) => {
    f.mustBeOff(
      "thresholding",
      "use_exponential_sigmas",
      "use_beta_sigmas",
      "use_lu_lambdas",
      "use_flow_sigmas",
    );
    f.mustBeOff("variance_type");
    // all names but the first are other solvers', and diffusers reads them as the first
    f.oneOf("algorithm_type", ["dpmsolver++", "deis"], "dpmsolver++", otherMethods);
    f.oneOf("solver_type", ["midpoint", "logrho", "bh1", "bh2"], "midpoint", otherMethods);
    const table = tableOf(f, { last: leastAlpha });
    const withKarras = f.flag("use_karras_sigmas", false);
    const plan = {
      ...spacingOf(f, "linspace"),
      withKarras,
      sigmaMin: f.number("sigma_min", null),
      sigmaMax: f.number("sigma_max", null),
      final: f.oneOf("final_sigmas_type", ["zero", "sigma_min"], "zero"),
      lambdaMin: f.number("lambda_min_clipped", Number.NEGATIVE_INFINITY),
      wholeTimestep: f.json.beta_schedule === "squaredcos_cap_v2" ? Math.trunc : roundEven,
    };
    const options = {
      order: f.oneOf("solver_order", [1, 2], 2, otherMethods),
      lowerOrderFinal: f.flag("lower_order_final", true),
      eulerAtFinal: f.flag("euler_at_final", false),
    };
    return {
      name: withKarras ? "dpmpp-2m-karras" : "dpmpp-2m",
      prediction: predictionOf(f),
      plan: (steps) => dpmPlan(table, steps, plan),
      run: (denoise, x, p) => dpmpp2m(denoise, x, p, options),
    };
  },

  LCMScheduler: (f) => {
    f.mustBeOff("thresholding");
    const table = tableOf(f, { betaStart: 0.00085, betaEnd: 0.012, scaled: true, last: 0 });
    const originalSteps = f.count("original_inference_steps", 50, 1);
    const options = { timestepScaling: f.number("timestep_scaling", 10), clip: clipOf(f, false) };
    return {
      name: "lcm",
      prediction: predictionOf(f),
      plan: (steps) => lcmPlan(table, steps, originalSteps),
      run: (denoise, x, plan, noise) => lcm(denoise, x, plan, noise, options),
    };
  },
};

/**
 * The scheduler that a parsed `scheduler_config.json` describes; `where` names the file in messages.
 * @throws KoalaError E_CONFIG for a class, or a value that would change the result, that is not supported
 */
export function schedulerFromConfig(config: Json, where: string): Scheduler {
  const className = String(config._class_name);
  const maker = Object.hasOwn(makers, className) ? makers[className] : undefined;
  check(maker !== undefined, "E_CONFIG", () => ({
    where: `${where} (_class_name)`,
    expected: `one of ${Object.keys(makers).join(", ")}`,
    got: JSON.stringify(config._class_name) ?? "nothing",
    hint: otherMethods,
  }));
  const method = maker(new Fields(config, where));
  return {
    name: method.name,
    prediction: method.prediction,
    plan(steps) {
      const plan = method.plan(steps);
      const blind = plan.steps.find((step) => step.at.signal === 0);
      check(blind === undefined || method.prediction !== "epsilon", "E_CONFIG", () => ({
        where: `${where} (prediction_type)`,
        expected: `"v_prediction" or "sample" with rescale_betas_zero_snr, since timestep ${blind?.timestep} is all noise`,
        got: `"${method.prediction}"`,
      }));
      return plan;
    },
    sample(predict, x, plan, noise) {
      const denoise: Denoise = async (current, step) => {
        const scale = inputScale(step.at);
        const said = await predict(
          current.map((v) => v * scale),
          step,
        );
        return toDenoised(method.prediction, said, current, step.at);
      };
      return method.run(denoise, x, plan, noise);
    },
  };
}

/** The class and the fields that each name stands for. */
const named: Readonly<Record<SchedulerName, Json>> = {
  euler: { _class_name: "EulerDiscreteScheduler" },
  "euler-a": { _class_name: "EulerAncestralDiscreteScheduler" },
  ddim: { _class_name: "DDIMScheduler" },
  pndm: { _class_name: "PNDMScheduler" },
  "dpmpp-2m": dpm(false),
  "dpmpp-2m-karras": dpm(true),
  lcm: { _class_name: "LCMScheduler" },
};

function dpm(withKarras: boolean): Json {
  return {
    _class_name: "DPMSolverMultistepScheduler",
    algorithm_type: "dpmsolver++",
    solver_order: 2,
    solver_type: "midpoint",
    use_karras_sigmas: withKarras,
  };
}

/**
 * What the scheduler files of released latent models say and those written by other classes leave out. The classes'
 * own defaults are made for pixels: clipping to ±1 would spoil latents, which are wider.
 */
const latentDefaults: Json = { clip_sample: false, skip_prk_steps: true };

/**
 * `config` with its class exchanged for that of `name`: the betas, prediction and spacing that it says stay, and what it does
 * not say is as the new class has it, both as with diffusers' `from_config`; but `latentDefaults` come before the class's own.
 * Of its own class a config keeps the solver's order too.
 */
export function withScheduler(config: Json, name: SchedulerName): Json {
  const exchanged = named[name]._class_name !== config._class_name;
  // another class's ends of the Karras levels are dropped by `from_config` too
  const dropped: Json = exchanged ? { sigma_min: null, sigma_max: null } : {};
  // a model's own choice of the first order, which a step or two may need; the third is not supported
  const own: Json = !exchanged && config.solver_order === 1 ? { solver_order: 1 } : {};
  return { ...(exchanged ? latentDefaults : {}), ...config, ...dropped, ...named[name], ...own };
}
