/**
 * Where on a teacher's path a consistency model learns: the grid of its DDIM solver, the phases that the path is cut into,
 * and every move along it as two numbers, since from noised latents and a prediction each move is linear in both.
 * Sources: Wang et al. 2024, arXiv:2405.18407 (PCM), and G-U-N/Phased-Consistency-Model at b127277; Luo et al. 2023,
 * arXiv:2310.04378 (LCM), and diffusers' `train_lcm_distill_sdxl_wds.py`.
 */

import { check } from "../../core/assert.ts";
import { levelOfAlpha, type NoiseLevel, type Prediction } from "../../diffusion/prediction.ts";

export const consistencyMethods = ["pcm", "lcm"] as const;
export type ConsistencyMethod = (typeof consistencyMethods)[number];

export interface PathOptions {
  readonly method: ConsistencyMethod;
  readonly alphasCumprod: Float32Array;
  readonly prediction: Prediction;
  /** Steps of the solver from noise to picture. */
  readonly grid: number;
  /** Parts of the path, each with an end of its own; of LCM one. */
  readonly phases: number;
}

/** `sample` · z + `output` · what the network says to z. */
export interface Move {
  readonly sample: number;
  readonly output: number;
}

/** One place of the grid, with the moves that begin there. Timesteps are those of training. */
export interface Place {
  readonly timestep: number;
  /** One step of the solver on. */
  readonly next: number;
  /** Of its phase. */
  readonly end: number;
  /** The student's answer here: the end of the phase, as it guesses it. */
  readonly online: Move;
  /** The teacher's step from here to `next`. */
  readonly solver: Move;
  /** The student's answer at `next`. */
  readonly target: Move;
}

/** What z₀ and ε are of z at a level, by the network's output: rows of two numbers. */
function estimates(
  prediction: Prediction,
  { signal, noise }: NoiseLevel,
): { readonly clean: Move; readonly noise: Move } {
  switch (prediction) {
    case "epsilon":
      return {
        clean: { sample: 1 / signal, output: -noise / signal },
        noise: { sample: 0, output: 1 },
      };
    case "v_prediction":
      return { clean: { sample: signal, output: -noise }, noise: { sample: noise, output: signal } };
    case "sample":
      return {
        clean: { sample: 0, output: 1 },
        noise: { sample: 1 / noise, output: -signal / noise },
      };
  }
}

const weighted = (a: number, x: Move, b: number, y: Move): Move => ({
  sample: a * x.sample + b * y.sample,
  output: a * x.output + b * y.output,
});

/** A deterministic DDIM step from one level to another; to the same level z stays as it is. */
export function ddimMove(prediction: Prediction, from: NoiseLevel, to: NoiseLevel): Move {
  if (from.signal === to.signal) return { sample: 1, output: 0 };
  const { clean, noise } = estimates(prediction, from);
  return weighted(to.signal, clean, to.noise, noise);
}

/** σ of the data, and what timesteps are multiplied by: diffusers' `LCMScheduler`. */
const SIGMA_DATA = 0.5;
const TIMESTEP_SCALING = 10;

/** c_skip · z + c_out · z₀: at timestep 0 z itself, whatever the network says. */
function lcmMove(prediction: Prediction, timestep: number, at: NoiseLevel): Move {
  const scaled = TIMESTEP_SCALING * timestep;
  const skip = SIGMA_DATA ** 2 / (scaled ** 2 + SIGMA_DATA ** 2);
  const out = scaled / Math.sqrt(scaled ** 2 + SIGMA_DATA ** 2);
  return weighted(skip, { sample: 1, output: 0 }, out, estimates(prediction, at).clean);
}

/** Timesteps of a solver with `grid` equal steps, least noise first: (1 … N) ⌊T / N⌋ − 1. */
export const gridTimesteps = (trainSteps: number, grid: number): number[] =>
  Array.from({ length: grid }, (_, i) => (i + 1) * Math.floor(trainSteps / grid) - 1);

/** Places of the grid where phases begin: ⌊i N / K⌋. */
export const phaseStarts = (grid: number, phases: number): number[] =>
  Array.from({ length: phases }, (_, i) => Math.floor((i * grid) / phases));

/**
 * Holds that phases end at the timesteps of a drawing in as many steps, DDIM's trailing ones: those are places of the grid
 * where the phases share it evenly, and it shares training's steps evenly.
 * @throws KoalaError E_CONFIG with what fits
 */
export function checkEnds({ alphasCumprod, grid, phases }: PathOptions): void {
  const trainSteps = alphasCumprod.length;
  const fits = (all: number): boolean => all % phases === 0;
  const shares = Array.from({ length: trainSteps }, (_, i) => i + 1).filter((n) => trainSteps % n === 0);
  const listed = (numbers: readonly number[]): string =>
    `${numbers.slice(0, -1).join(", ")}${numbers.length > 1 ? " or " : ""}${numbers.at(-1)}`;
  check(fits(trainSteps), "E_CONFIG", () => ({
    where: "phases",
    expected: `equal parts of the teacher's ${trainSteps} steps: ${listed(shares)}`,
    got: `${phases}`,
  }));
  check(fits(grid) && trainSteps % grid === 0, "E_CONFIG", () => ({
    where: "grid",
    expected: `equal steps through the teacher's ${trainSteps} that ${phases} phases share evenly: ${listed(shares.filter(fits))}`,
    got: `${grid}`,
  }));
}

/**
 * All places of the grid, least noise first.
 * @throws KoalaError E_CONFIG for a grid finer than training was, or more phases than places
 */
export function placesOf({ method, alphasCumprod, prediction, grid, phases }: PathOptions): Place[] {
  const trainSteps = alphasCumprod.length;
  check(grid <= trainSteps, "E_CONFIG", () => ({
    where: "grid",
    expected: `at most ${trainSteps}, the steps that the teacher was trained with`,
    got: `${grid}`,
  }));
  check(phases <= grid, "E_CONFIG", () => ({
    where: "phases",
    expected: `at most ${grid}, the steps of the grid`,
    got: `${phases}`,
  }));
  const timesteps = gridTimesteps(trainSteps, grid);
  const starts = phaseStarts(grid, method === "lcm" ? 1 : phases);
  const level = (t: number): NoiseLevel => levelOfAlpha(alphasCumprod[t] ?? Number.NaN);
  const before = (i: number): number => (i === 0 ? 0 : (timesteps[i - 1] ?? 0));
  return timesteps.map((timestep, i) => {
    const next = before(i);
    const end = before(starts.findLast((start) => start <= i) ?? 0);
    const answer = (t: number): Move =>
      method === "lcm" ? lcmMove(prediction, t, level(t)) : ddimMove(prediction, level(t), level(end));
    return {
      ...{ timestep, next, end, online: answer(timestep), target: answer(next) },
      solver: ddimMove(prediction, level(timestep), level(next)),
    };
  });
}

/** More noise on what has some already, from one timestep to a later one: `signal` · z + `noise` · ε, ε standard normal. */
export function travel(alphasCumprod: Float32Array, from: number, to: number): NoiseLevel {
  return levelOfAlpha((alphasCumprod[to] ?? Number.NaN) / (alphasCumprod[from] ?? Number.NaN));
}
