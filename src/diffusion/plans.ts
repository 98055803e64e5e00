/**
 * The noise levels that each scheduler of diffusers visits in a given number of steps, its own rounding and
 * its own idea of "the step before" included: samplers are the same everywhere, plans are not.
 */

import { check } from "../core/assert.ts";
import type { Plan, PlanStep, StepChoice } from "./plan.ts";
import { levelOfAlpha, levelOfSigma, type NoiseLevel } from "./prediction.ts";
import {
  betaSigmas,
  checkCount,
  checkSteps,
  checkTimesteps,
  exponentialSigmas,
  interpolate,
  karrasSigmas,
  leadingTimesteps,
  linspace,
  type NoiseTable,
  roundEven,
  type Spacing,
  timestepOfSigma,
  trailingTimesteps,
} from "./schedule.ts";

const f32 = Math.fround;

export interface SpacingOptions {
  readonly spacing: Spacing;
  /** Added to every timestep of "leading". */
  readonly offset: number;
}

/** Formulas of noise levels: `karrasSigmas` and the like. */
export const curveNames = ["karras", "exponential", "beta"] as const;
export type Curve = (typeof curveNames)[number];

/** How noise levels are laid between the first and the last. */
export interface SigmaOptions extends SpacingOptions {
  /** Those of the timesteps; or by a curve, which gives the timesteps. */
  readonly curve: "timesteps" | Curve;
  /** Ends of the curve, in place of the table's. */
  readonly sigmaMin: number | null;
  readonly sigmaMax: number | null;
  /** Where the last step ends: no noise, or the table's least. */
  readonly final: "zero" | "sigma_min";
}

/** Noise levels from `max` down to `min`, by a formula. */
const curves: Readonly<Record<Curve, (min: number, max: number, count: number) => number[]>> = {
  karras: karrasSigmas,
  exponential: exponentialSigmas,
  beta: betaSigmas,
};

const planOf = (steps: readonly PlanStep[], o: Partial<Plan> = {}): Plan => ({
  ...{ steps, count: steps.length, initNoiseSigma: 1 },
  ...o,
});

/** The timesteps that were named, or `spaced`, at most `most`, where it was only their count. @throws KoalaError E_REQUEST */
function timestepsOf(
  steps: StepChoice,
  { trainSteps, most }: { readonly trainSteps: number; readonly most: number },
  spaced: (count: number) => readonly number[],
): readonly number[] {
  if (typeof steps === "number") {
    checkSteps(steps, most);
    return spaced(steps);
  }
  checkTimesteps(steps, trainSteps);
  return steps;
}

/** Steps from each level to the next, `levels` being one longer than `timesteps`. */
function chain(timesteps: readonly number[], levels: readonly NoiseLevel[]): PlanStep[] {
  return timesteps.map((timestep, i) => {
    const at = levels[i] ?? levelOfSigma(0);
    return { timestep, at, from: at, to: levels[i + 1] ?? levelOfSigma(0) };
  });
}

/** Noise on top of the image: `EulerDiscreteScheduler`, `EulerAncestralDiscreteScheduler`, `HeunDiscreteScheduler`. */
export function eulerPlan(table: NoiseTable, steps: StepChoice, o: SigmaOptions): Plan {
  const trainSteps = table.sigmas.length;
  let timesteps = timestepsOf(steps, { trainSteps, most: trainSteps }, (count) =>
    o.spacing === "linspace"
      ? linspace(0, trainSteps - 1, count)
          .reverse()
          .map(f32)
      : o.spacing === "leading"
        ? leadingTimesteps(count, trainSteps, o.offset)
        : trailingTimesteps(count, trainSteps),
  );
  let sigmas = timesteps.map((t) => interpolate(table.sigmas, t));
  if (o.curve !== "timesteps") {
    checkCount(steps);
    sigmas = curves[o.curve](o.sigmaMin ?? sigmas.at(-1) ?? 0, o.sigmaMax ?? sigmas[0] ?? 0, steps);
    timesteps = sigmas.map((sigma) => f32(timestepOfSigma(sigma, table.sigmas)));
  }
  sigmas = [...sigmas, o.final === "zero" ? 0 : (table.sigmas[0] ?? 0)].map(f32);
  const most = Math.max(...sigmas);
  return planOf(chain(timesteps, sigmas.map(levelOfSigma)), {
    initNoiseSigma: o.spacing === "leading" ? Math.sqrt(most ** 2 + 1) : most,
  });
}

export interface DpmPlanOptions extends SigmaOptions {
  /** Training steps with less than this λ (half the log signal-to-noise ratio) are left out. */
  readonly lambdaMin: number;
  /** Levels by a curve tell the network whole timesteps: rounded, or cut off. */
  readonly wholeTimestep: (t: number) => number;
}

/** Variance 1, levels read off σ: `DPMSolverMultistepScheduler`, `UniPCMultistepScheduler`. Their spacings count one level more than steps. */
export function dpmPlan(table: NoiseTable, steps: StepChoice, o: DpmPlanOptions): Plan {
  const trainSteps = table.sigmas.length;
  const last = trainSteps - table.sigmas.filter((sigma) => -Math.log(sigma) < o.lambdaMin).length;
  let timesteps = timestepsOf(steps, { trainSteps, most: last - 1 }, (count) =>
    o.spacing === "linspace"
      ? linspace(0, last - 1, count + 1)
          .map(roundEven)
          .slice(1)
          .reverse()
      : o.spacing === "leading"
        ? leadingTimesteps(count + 1, last, o.offset).slice(0, -1)
        : trailingTimesteps(count, trainSteps, last),
  );
  let sigmas = timesteps.map((t) => interpolate(table.sigmas, t));
  if (o.curve !== "timesteps") {
    checkCount(steps);
    const least = o.sigmaMin ?? table.sigmas[0] ?? 0;
    const most = o.sigmaMax ?? table.sigmas[trainSteps - 1] ?? 0;
    sigmas = curves[o.curve](least, most, steps);
    timesteps = sigmas.map((sigma) => o.wholeTimestep(timestepOfSigma(sigma, table.sigmas)));
  }
  const levels = [...sigmas, o.final === "zero" ? 0 : (table.sigmas[0] ?? 0)].map((value) => {
    const sigma = f32(value);
    const signal = 1 / Math.sqrt(sigma ** 2 + 1);
    return { signal, noise: sigma * signal };
  });
  return planOf(chain(timesteps, levels));
}

/** ᾱ at a training step as a level. @throws KoalaError E_REQUEST where the model was not trained */
function levelAt(table: NoiseTable, timestep: number): NoiseLevel {
  const alpha = table.alphasCumprod[timestep];
  check(alpha !== undefined, "E_REQUEST", () => ({
    where: "steps",
    expected: `timesteps below ${table.alphasCumprod.length}, the training steps of the model`,
    got: `timestep ${timestep}`,
    hint: "Take fewer steps.",
  }));
  return levelOfAlpha(alpha);
}

export interface AlphaOptions extends SpacingOptions {
  /** Whether the last step ends without noise; else at the table's least. */
  readonly endsClean: boolean;
}

/** Whole timesteps with the spacing of `DDIMScheduler` and `PNDMScheduler`, most noise first. */
function wholeTimesteps(steps: number, trainSteps: number, o: SpacingOptions): number[] {
  if (o.spacing === "leading") return leadingTimesteps(steps, trainSteps, o.offset);
  if (o.spacing === "trailing") return trailingTimesteps(steps, trainSteps);
  return linspace(0, trainSteps - 1, steps)
    .map(roundEven)
    .reverse();
}

/** The level of a timestep, or that of the plan's end where the timestep lies before the first. */
const levelOrEnd = (table: NoiseTable, timestep: number, o: AlphaOptions): NoiseLevel =>
  timestep >= 0 ? levelAt(table, timestep) : o.endsClean ? levelOfAlpha(1) : levelAt(table, 0);

/**
 * Variance 1, each step a fixed number of training steps long whatever comes next: `DDIMScheduler`. Timesteps that are named, which
 * diffusers' class does not take, go from each to the next.
 */
export function ddimPlan(table: NoiseTable, steps: StepChoice, o: AlphaOptions): Plan {
  const trainSteps = table.alphasCumprod.length;
  const timesteps = timestepsOf(steps, { trainSteps, most: trainSteps }, (count) =>
    wholeTimesteps(count, trainSteps, o),
  );
  const endOf = (timestep: number, i: number): number =>
    typeof steps === "number" ? timestep - Math.floor(trainSteps / steps) : (timesteps[i + 1] ?? -1);
  return planOf(
    timesteps.map((timestep, i) => {
      const at = levelAt(table, timestep);
      return { timestep, at, from: at, to: levelOrEnd(table, endOf(timestep, i), o) };
    }),
  );
}

/** Calls of the Runge-Kutta start of `pndmPlan`: three steps of four. */
export const rungeKuttaCalls = 12;

/** As `ddimPlan`, with the second level twice (PLMS), or with a Runge-Kutta start: `PNDMScheduler`. */
export function pndmPlan(
  table: NoiseTable,
  steps: StepChoice,
  o: AlphaOptions & { readonly withRungeKutta: boolean },
): Plan {
  checkCount(steps);
  const trainSteps = table.alphasCumprod.length;
  checkSteps(steps, trainSteps, o.withRungeKutta ? 4 : 1);
  const stride = Math.floor(trainSteps / steps);
  const timesteps = wholeTimesteps(steps, trainSteps, o);
  const multistep = (timestep: number): PlanStep => {
    const at = levelAt(table, timestep);
    return { timestep, at, from: at, to: levelOrEnd(table, timestep - stride, o) };
  };
  if (!o.withRungeKutta) {
    const [, second, ...rest] = timesteps;
    const plan = timesteps.slice(0, 1).map(multistep);
    if (second !== undefined) {
      const at = levelAt(table, second);
      plan.push({ timestep: second, at, from: levelAt(table, second + stride), to: at });
      plan.push(...[second, ...rest].map(multistep));
    }
    return planOf(plan, { count: timesteps.length });
  }
  const half = Math.floor(stride / 2);
  // ends and middles of the first three strides, the inner ones twice: the times of the four stages
  const times = timesteps.slice(0, 4).flatMap((t) => [t + half, t]);
  const stages = times
    .slice(1)
    .flatMap((t) => [t, t])
    .slice(1, -1);
  const start = stages.map((timestep, call) => ({
    timestep,
    at: levelAt(table, timestep),
    from: levelAt(table, stages[call - (call % 4)] ?? timestep),
    to: levelOrEnd(table, timestep - (call % 2 === 1 ? 0 : half), o),
  }));
  return planOf([...start, ...timesteps.slice(3).map(multistep)], { count: timesteps.length });
}

/**
 * The steps of `pndmPlan` with PLMS that are left after the first `skipped` > 0 levels, with a second level twice of their own.
 * diffusers takes them as they stand, and so calls the network with a timestep that its x is not at.
 */
export function laterPndmSteps(steps: readonly PlanStep[], skipped: number): PlanStep[] {
  const [first, second, ...rest] = steps.slice(skipped + 1); // one more, since the second is there twice
  if (first === undefined || second === undefined) return steps.slice(-1);
  return [first, { ...second, from: first.from, to: first.to }, second, ...rest];
}

/** Every k-th of the timesteps that the model was distilled on: `LCMScheduler`, `TCDScheduler`. */
function distilledTimesteps(table: NoiseTable, steps: StepChoice, originalSteps: number): readonly number[] {
  const trainSteps = table.alphasCumprod.length;
  const stride = Math.floor(trainSteps / originalSteps);
  return timestepsOf(steps, { trainSteps, most: originalSteps }, (count) =>
    Array.from(
      { length: count },
      (_, i) => (originalSteps - Math.floor(i * (originalSteps / count))) * stride - 1,
    ),
  );
}

/** To a clean image: `LCMScheduler`. */
export function lcmPlan(table: NoiseTable, steps: StepChoice, originalSteps: number): Plan {
  const timesteps = distilledTimesteps(table, steps, originalSteps);
  const levels = timesteps.map((t) => levelAt(table, t));
  return planOf(chain(timesteps, [...levels, levelOfAlpha(1)]));
}

/** To the table's least noise, each step by way of the share `1 - eta` of its end's timestep: `TCDScheduler`. */
export function tcdPlan(table: NoiseTable, steps: StepChoice, originalSteps: number, eta: number): Plan {
  const timesteps = distilledTimesteps(table, steps, originalSteps);
  return planOf(
    timesteps.map((timestep, i) => {
      const at = levelAt(table, timestep);
      const end = timesteps[i + 1] ?? 0;
      const via = levelAt(table, Math.floor(f32(f32(1 - eta) * end))); // in float32, as torch
      return { timestep, at, from: at, to: levelAt(table, end), via };
    }),
  );
}
