/**
 * The noise levels that each scheduler of diffusers visits in a given number of steps, its own rounding and
 * its own idea of "the step before" included: samplers are the same everywhere, plans are not.
 */

import { check } from "../core/assert.ts";
import type { Plan, PlanStep } from "./plan.ts";
import { levelOfAlpha, levelOfSigma, type NoiseLevel } from "./prediction.ts";
import {
  checkSteps,
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

/** How noise levels are laid between the first and the last. */
export interface SigmaOptions extends SpacingOptions {
  readonly withKarras: boolean;
  /** Ends of the Karras levels, in place of the table's. */
  readonly sigmaMin: number | null;
  readonly sigmaMax: number | null;
  /** Where the last step ends: no noise, or the table's least. */
  readonly final: "zero" | "sigma_min";
}

/** Steps from each level to the next, `levels` being one longer than `timesteps`. */
function chain(timesteps: readonly number[], levels: readonly NoiseLevel[]): PlanStep[] {
  return timesteps.map((timestep, i) => {
    const at = levels[i] ?? levelOfSigma(0);
    return { timestep, at, from: at, to: levels[i + 1] ?? levelOfSigma(0) };
  });
}

/** Noise on top of the image: `EulerDiscreteScheduler`, `EulerAncestralDiscreteScheduler`. */
export function eulerPlan(table: NoiseTable, steps: number, o: SigmaOptions): Plan {
  const trainSteps = table.sigmas.length;
  checkSteps(steps, trainSteps);
  let timesteps =
    o.spacing === "linspace"
      ? linspace(0, trainSteps - 1, steps)
          .reverse()
          .map(f32)
      : o.spacing === "leading"
        ? leadingTimesteps(steps, trainSteps, o.offset)
        : trailingTimesteps(steps, trainSteps);
  let sigmas = timesteps.map((t) => interpolate(table.sigmas, t));
  if (o.withKarras) {
    sigmas = karrasSigmas(o.sigmaMin ?? sigmas.at(-1) ?? 0, o.sigmaMax ?? sigmas[0] ?? 0, steps);
    timesteps = sigmas.map((sigma) => f32(timestepOfSigma(sigma, table.sigmas)));
  }
  sigmas = [...sigmas, o.final === "zero" ? 0 : (table.sigmas[0] ?? 0)].map(f32);
  const most = Math.max(...sigmas);
  return {
    steps: chain(timesteps, sigmas.map(levelOfSigma)),
    initNoiseSigma: o.spacing === "leading" ? Math.sqrt(most ** 2 + 1) : most,
  };
}

export interface DpmPlanOptions extends SigmaOptions {
  /** Training steps with less than this λ (half the log signal-to-noise ratio) are left out. */
  readonly lambdaMin: number;
  /** Karras levels tell the network whole timesteps: rounded, or cut off under `squaredcos_cap_v2`. */
  readonly wholeTimestep: (t: number) => number;
}

/** Variance 1, levels read off σ: `DPMSolverMultistepScheduler`. Its spacings count one level more than steps. */
export function dpmPlan(table: NoiseTable, steps: number, o: DpmPlanOptions): Plan {
  const trainSteps = table.sigmas.length;
  const last = trainSteps - table.sigmas.filter((sigma) => -Math.log(sigma) < o.lambdaMin).length;
  checkSteps(steps, last - 1);
  let timesteps =
    o.spacing === "linspace"
      ? linspace(0, last - 1, steps + 1)
          .map(roundEven)
          .slice(1)
          .reverse()
      : o.spacing === "leading"
        ? leadingTimesteps(steps + 1, last, o.offset).slice(0, -1)
        : trailingTimesteps(steps, trainSteps, last);
  let sigmas = timesteps.map((t) => interpolate(table.sigmas, t));
  if (o.withKarras) {
    const least = o.sigmaMin ?? table.sigmas[0] ?? 0;
    const most = o.sigmaMax ?? table.sigmas[trainSteps - 1] ?? 0;
    sigmas = karrasSigmas(least, most, steps);
    timesteps = sigmas.map((sigma) => o.wholeTimestep(timestepOfSigma(sigma, table.sigmas)));
  }
  const levels = [...sigmas, o.final === "zero" ? 0 : (table.sigmas[0] ?? 0)].map((value) => {
    const sigma = f32(value);
    const signal = 1 / Math.sqrt(sigma ** 2 + 1);
    return { signal, noise: sigma * signal };
  });
  return { steps: chain(timesteps, levels), initNoiseSigma: 1 };
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

/** Variance 1, each step a fixed number of training steps long whatever comes next: `DDIMScheduler`. */
export function ddimPlan(table: NoiseTable, steps: number, o: AlphaOptions): Plan {
  const trainSteps = table.alphasCumprod.length;
  checkSteps(steps, trainSteps);
  const stride = Math.floor(trainSteps / steps);
  return {
    steps: wholeTimesteps(steps, trainSteps, o).map((timestep) => {
      const at = levelAt(table, timestep);
      return { timestep, at, from: at, to: levelOrEnd(table, timestep - stride, o) };
    }),
    initNoiseSigma: 1,
  };
}

/** Calls of the Runge-Kutta start of `pndmPlan`: three steps of four. */
export const rungeKuttaCalls = 12;

/** As `ddimPlan`, with the second level twice (PLMS), or with a Runge-Kutta start: `PNDMScheduler`. */
export function pndmPlan(
  table: NoiseTable,
  steps: number,
  o: AlphaOptions & { readonly withRungeKutta: boolean },
): Plan {
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
    return { steps: plan, initNoiseSigma: 1 };
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
  return { steps: [...start, ...timesteps.slice(3).map(multistep)], initNoiseSigma: 1 };
}

/** Every k-th of the timesteps that the model was distilled on: `LCMScheduler`. */
export function lcmPlan(table: NoiseTable, steps: number, originalSteps: number): Plan {
  checkSteps(steps, originalSteps);
  const stride = Math.floor(table.alphasCumprod.length / originalSteps);
  const timesteps = Array.from(
    { length: steps },
    (_, i) => (originalSteps - Math.floor(i * (originalSteps / steps))) * stride - 1,
  );
  const levels = timesteps.map((t) => levelAt(table, t));
  return { steps: chain(timesteps, [...levels, levelOfAlpha(1)]), initNoiseSigma: 1 };
}
