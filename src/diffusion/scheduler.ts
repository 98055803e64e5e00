/**
 * From diffusers' `scheduler_config.json` to something that samples: which levels, which method, what the network
 * predicts. Defaults of absent fields are those of each class in diffusers 0.42.
 */

import { check } from "../core/assert.ts";
import { Fields, type Json } from "./fields.ts";
import type { Denoise, Noise, Plan, PlanStep, SampleStep, StepChoice } from "./plan.ts";
import {
  type Curve,
  curveNames,
  ddimPlan,
  dpmPlan,
  eulerPlan,
  laterPndmSteps,
  lcmPlan,
  pndmPlan,
  rungeKuttaCalls,
  type SigmaOptions,
  tcdPlan,
} from "./plans.ts";
import { inputScale, type Prediction, predictions, toDenoised } from "./prediction.ts";
import { ddim } from "./samplers/ddim.ts";
import { dpmpp } from "./samplers/dpmpp.ts";
import { euler } from "./samplers/euler.ts";
import { eulerAncestral } from "./samplers/euler-ancestral.ts";
import { heun } from "./samplers/heun.ts";
import { lcm } from "./samplers/lcm.ts";
import { pndm } from "./samplers/pndm.ts";
import { tcd } from "./samplers/tcd.ts";
import { unipc } from "./samplers/unipc.ts";
import { type NoiseTable, noiseTable, roundEven, type Spacing } from "./schedule.ts";

/** The names that a request may give. */
export const schedulerNames = [
  "euler",
  "euler-a",
  "heun",
  "ddim",
  "pndm",
  "dpmpp-2m",
  "dpmpp-2m-karras",
  "dpmpp-2m-sde",
  "dpmpp-2m-sde-karras",
  "dpmpp-3m",
  "unipc",
  "lcm",
  "tcd",
] as const;
export type SchedulerName = (typeof schedulerNames)[number];

/** Whether its noise levels are Karras', whatever the spacing. */
export const isKarras = (name: SchedulerName): boolean => name.endsWith("-karras");

/** What noise levels follow: those of the timesteps, or a curve that gives the timesteps. */
export const sigmaNames: readonly ["timesteps", ...typeof curveNames] = ["timesteps", ...curveNames];
export type SigmaName = (typeof sigmaNames)[number];

const curved: readonly SchedulerName[] = [
  "euler",
  "euler-a",
  "heun",
  "dpmpp-2m",
  "dpmpp-2m-sde",
  "dpmpp-3m",
  "unipc",
];

/** Whether its noise levels may follow any curve: as its class in diffusers has it, and Euler ancestral's as in k-diffusion. */
export const hasSigmas = (name: SchedulerName): boolean => curved.includes(name);

/** What the network says (after guidance) to `x`, which is scaled as it was trained; flat, the same length. */
export type Predict = (x: Float32Array, step: PlanStep) => Promise<Float32Array>;

export interface Scheduler {
  readonly name: SchedulerName;
  readonly prediction: Prediction;
  /** The levels of a run. @throws KoalaError E_REQUEST for a count, or a list, that the method cannot take */
  plan(steps: StepChoice): Plan;
  /**
   * What is left of a plan without its first `skipped` steps: of a picture that is noised no further.
   * @throws KoalaError E_REQUEST for a method that cannot start late
   */
  later(plan: Plan, skipped: number): Plan;
  /**
   * Runs `plan` from `x` (flat; unit noise times `plan.initNoiseSigma`, or a picture at the plan's first level). `noise` gives
   * fresh unit noise of the same length; only some samplers ask. `keep` may change the z₀ that each step heads for: where a part of
   * a picture is to stay.
   */
  sample(
    predict: Predict,
    x: Float32Array,
    plan: Plan,
    noise: Noise,
    keep?: (denoised: Float32Array) => Float32Array,
  ): AsyncGenerator<SampleStep>;
}

/** A method with its levels, blind to the network. */
interface Method {
  readonly name: SchedulerName;
  readonly prediction: Prediction;
  plan(steps: StepChoice): Plan;
  /** `Scheduler.later` of the steps; absent: those that are left, as they are. */
  readonly later?: (steps: readonly PlanStep[], skipped: number) => readonly PlanStep[];
  run(denoise: Denoise, x: Float32Array, plan: Plan, noise: Noise): AsyncGenerator<SampleStep>;
}

type Maker = (f: Fields) => Method;

const drop = (steps: readonly PlanStep[], skipped: number): readonly PlanStep[] => steps.slice(skipped);

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

/** The field of the file that asks for each curve. */
const curveFields = {
  karras: "use_karras_sigmas",
  exponential: "use_exponential_sigmas",
  beta: "use_beta_sigmas",
} as const satisfies Record<Curve, string>;

/** Levels by a curve, or those of the timesteps; diffusers refuses two curves at once too. */
function curveOf(f: Fields): SigmaOptions["curve"] {
  const [curve, ...others] = curveNames.filter((name) => f.flag(curveFields[name], false));
  check(others.length === 0, "E_CONFIG", () => ({
    where: f.where,
    expected: `one at most of ${Object.values(curveFields).join(", ")}`,
    got: [curve, ...others].map((name) => curveFields[name as Curve]).join(" and "),
  }));
  return curve ?? "timesteps";
}

/** Ends of the curve of levels. */
const curveEnds = (f: Fields): Pick<SigmaOptions, "sigmaMin" | "sigmaMax"> => ({
  sigmaMin: f.number("sigma_min", null),
  sigmaMax: f.number("sigma_max", null),
});

/** η of `ddim` and γ of `tcd`. diffusers is told it at every step; here it is a field of ours in the file. */
const etaOf = (f: Fields, fallback: number): number => f.number("eta", fallback);

const clipOf = (f: Fields, fallback: boolean): number | null =>
  f.flag("clip_sample", fallback) ? f.number("clip_sample_range", 1) : null;

const makers: Readonly<Record<string, Maker>> = {
  EulerDiscreteScheduler: (f) => {
    f.oneOf("interpolation_type", ["linear"], "linear");
    f.oneOf("timestep_type", ["discrete"], "discrete");
    const table = tableOf(f, { last: leastAlpha });
    const o = {
      ...spacingOf(f, "linspace"),
      ...curveEnds(f),
      curve: curveOf(f),
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
    // diffusers' class has no curves and passes over their fields; a request's choice is in one of ours
    const curve = f.oneOf("sigmas", sigmaNames, "timesteps");
    const o = { ...spacingOf(f, "linspace"), curve, sigmaMin: null, sigmaMax: null, final: "zero" } as const;
    return {
      name: "euler-a",
      prediction: predictionOf(f),
      plan: (steps) => eulerPlan(table, steps, o),
      run: eulerAncestral,
    };
  },

  HeunDiscreteScheduler: (f) => {
    f.mustBeOff("clip_sample");
    const table = tableOf(f, { betaStart: 0.00085, betaEnd: 0.012 });
    const o = { ...spacingOf(f, "linspace"), ...curveEnds(f), curve: curveOf(f), final: "zero" } as const;
    return {
      name: "heun",
      prediction: predictionOf(f),
      plan: (steps) => eulerPlan(table, steps, o),
      run: heun,
    };
  },

  DDIMScheduler: (f) => {
    f.mustBeOff("thresholding");
    const table = tableOf(f, { last: 0 });
    const o = { ...spacingOf(f, "leading"), endsClean: f.flag("set_alpha_to_one", true) };
    const options = { clip: clipOf(f, true), eta: etaOf(f, 0) };
    return {
      name: "ddim",
      prediction: predictionOf(f),
      plan: (steps) => ddimPlan(table, steps, o),
      run: (denoise, x, plan, noise) => ddim(denoise, x, plan, noise, options),
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
      later(steps, skipped) {
        check(!withRungeKutta, "E_REQUEST", () => ({
          where: "scheduler",
          expected: "one that can start at a picture",
          got: "pndm, which this model starts by Runge-Kutta steps",
          hint: "Take another, such as ddim.",
        }));
        return laterPndmSteps(steps, skipped);
      },
      run: (denoise, x, plan) => pndm(denoise, x, plan, options),
    };
  },

  DPMSolverMultistepScheduler: (f) => {
    f.mustBeOff("thresholding", "use_flow_sigmas", "variance_type");
    // diffusers reads "deis", another solver's name, as the first
    const kinds = ["dpmsolver++", "sde-dpmsolver++", "deis"] as const;
    const isStochastic = f.oneOf("algorithm_type", kinds, "dpmsolver++", otherMethods) === "sde-dpmsolver++";
    // all names but the first two are other solvers', and read as the first
    const solvers = ["midpoint", "heun", "logrho", "bh1", "bh2"] as const;
    const solver = f.oneOf("solver_type", solvers, "midpoint", otherMethods);
    const table = tableOf(f, { last: leastAlpha });
    const own = curveOf(f);
    // Lu's levels lie evenly in log σ as the exponential ones do; only their timesteps are rounded as Karras' are
    const isLu = own === "timesteps" && f.flag("use_lu_lambdas", false);
    const cutsOff = own === "exponential" || own === "beta" || f.json.beta_schedule === "squaredcos_cap_v2";
    const plan = {
      ...spacingOf(f, "linspace"),
      ...(isLu ? { sigmaMin: null, sigmaMax: null } : curveEnds(f)),
      curve: isLu ? "exponential" : own,
      final: f.oneOf("final_sigmas_type", ["zero", "sigma_min"], "zero"),
      lambdaMin: f.number("lambda_min_clipped", Number.NEGATIVE_INFINITY),
      wholeTimestep: cutsOff ? Math.trunc : roundEven,
    } as const;
    const options = {
      // of diffusers' stochastic third order the last term does not shrink with the step: a sign is the other way round there
      order: f.oneOf("solver_order", isStochastic ? [1, 2] : [1, 2, 3], 2, otherMethods),
      solver: solver === "heun" ? "heun" : "midpoint",
      isStochastic,
      lowerOrderFinal: f.flag("lower_order_final", true),
      eulerAtFinal: f.flag("euler_at_final", false),
    } as const;
    const plain = isStochastic ? "dpmpp-2m-sde" : "dpmpp-2m";
    return {
      name: options.order === 3 ? "dpmpp-3m" : own === "karras" ? `${plain}-karras` : plain,
      prediction: predictionOf(f),
      plan: (steps) => dpmPlan(table, steps, plan),
      run: (denoise, x, p, noise) => dpmpp(denoise, x, p, noise, options),
    };
  },

  UniPCMultistepScheduler: (f) => {
    f.mustBeOff("thresholding", "use_flow_sigmas", "solver_p");
    f.mustBeOn("predict_x0");
    const table = tableOf(f, { last: leastAlpha });
    const curve = curveOf(f);
    const plan = {
      ...spacingOf(f, "linspace"),
      ...curveEnds(f),
      curve,
      // a curve ends at the least level already: a step from there to there divides by its length
      final: f.oneOf("final_sigmas_type", curve === "timesteps" ? ["zero", "sigma_min"] : ["zero"], "zero"),
      lambdaMin: Number.NEGATIVE_INFINITY,
      wholeTimestep: curve === "karras" ? roundEven : Math.trunc,
    } as const;
    // names of DPM-Solver's are read as the second
    const variant = f.oneOf("solver_type", ["bh1", "bh2", "midpoint", "heun", "logrho"], "bh2", otherMethods);
    const options = {
      order: f.oneOf("solver_order", [1, 2, 3], 2, otherMethods),
      variant: variant === "bh1" ? "bh1" : "bh2",
      lowerOrderFinal: f.flag("lower_order_final", true),
      uncorrected: f.numbers("disable_corrector") ?? [],
    } as const;
    return {
      name: "unipc",
      prediction: predictionOf(f),
      plan: (steps) => dpmPlan(table, steps, plan),
      run: (denoise, x, p) => unipc(denoise, x, p, options),
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

  TCDScheduler: (f) => {
    f.mustBeOff("thresholding", "clip_sample");
    const table = tableOf(f, { betaStart: 0.00085, betaEnd: 0.012, scaled: true, last: 0 });
    const originalSteps = f.count("original_inference_steps", 50, 1);
    const eta = etaOf(f, 0.3); // as diffusers' class; its pipelines say 0 unless they are told another
    return {
      name: "tcd",
      prediction: predictionOf(f),
      plan: (steps) => tcdPlan(table, steps, originalSteps, eta),
      run: tcd,
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
    later: (plan, skipped) => ({
      ...plan,
      steps: skipped === 0 ? plan.steps : (method.later ?? drop)(plan.steps, skipped),
    }),
    sample(predict, x, plan, noise, keep = (denoised) => denoised) {
      const denoise: Denoise = async (current, step) => {
        const scale = inputScale(step.at);
        const said = await predict(
          current.map((v) => v * scale),
          step,
        );
        return keep(toDenoised(method.prediction, said, current, step.at));
      };
      return method.run(denoise, x, plan, noise);
    },
  };
}

const karras: Json = { use_karras_sigmas: true, use_exponential_sigmas: false };

const dpm = (fields: Json): Json => ({
  _class_name: "DPMSolverMultistepScheduler",
  ...{ algorithm_type: "dpmsolver++", solver_order: 2 },
  ...fields,
});

/** The class and the fields that each name stands for. */
const named: Readonly<Record<SchedulerName, Json>> = {
  euler: { _class_name: "EulerDiscreteScheduler" },
  "euler-a": { _class_name: "EulerAncestralDiscreteScheduler" },
  heun: { _class_name: "HeunDiscreteScheduler" },
  ddim: { _class_name: "DDIMScheduler" },
  pndm: { _class_name: "PNDMScheduler" },
  "dpmpp-2m": dpm({ use_karras_sigmas: false }),
  "dpmpp-2m-karras": dpm(karras),
  "dpmpp-2m-sde": dpm({ algorithm_type: "sde-dpmsolver++", use_karras_sigmas: false }),
  "dpmpp-2m-sde-karras": dpm({ algorithm_type: "sde-dpmsolver++", ...karras }),
  "dpmpp-3m": dpm({ solver_order: 3 }),
  unipc: { _class_name: "UniPCMultistepScheduler" },
  lcm: { _class_name: "LCMScheduler" },
  tcd: { _class_name: "TCDScheduler" },
};

/**
 * What the scheduler files of released latent models say and those written by other classes leave out. The classes'
 * own defaults are made for pixels: clipping to ±1 would spoil latents, which are wider.
 */
const latentDefaults: Json = { clip_sample: false, skip_prk_steps: true };

/**
 * `config` with its class exchanged for that of `name`: the betas, prediction and spacing that it says stay, and what it does
 * not say is as the new class has it, both as with diffusers' `from_config`; but `latentDefaults` come before the class's own.
 * Of its own class a config keeps the first order too.
 */
export function withScheduler(config: Json, name: SchedulerName): Json {
  const exchanged = named[name]._class_name !== config._class_name;
  // another class's ends of the Karras levels are dropped by `from_config` too
  const dropped: Json = exchanged ? { sigma_min: null, sigma_max: null } : {};
  // a model's own choice of the first order, which a step or two may need; the third has a name
  const isFirst = !exchanged && config.solver_order === 1 && named[name].solver_order === 2;
  const own: Json = isFirst ? { solver_order: 1 } : {};
  return { ...(exchanged ? latentDefaults : {}), ...config, ...dropped, ...named[name], ...own };
}

/** `config` with noise levels of a request's choice, in place of any curve that it names. */
export const withSigmas = (config: Json, sigmas: SigmaName): Json => ({
  ...config,
  ...{ use_lu_lambdas: false, sigmas },
  ...Object.fromEntries(curveNames.map((name) => [curveFields[name], name === sigmas])),
});
