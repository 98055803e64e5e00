/** Schedules against published endpoints, and spacings against diffusers' timesteps. */

import { expect, test } from "vitest";
import {
  betaSigmas,
  betasOf,
  checkSteps,
  interpolate,
  karrasSigmas,
  leadingTimesteps,
  linspace,
  type NoiseConfig,
  noiseTable,
  roundEven,
  timestepOfSigma,
  trailingTimesteps,
} from "./schedule.ts";

/** Stable Diffusion's and SDXL's. */
const latent: NoiseConfig = {
  trainSteps: 1000,
  betaStart: 0.00085,
  betaEnd: 0.012,
  betaSchedule: "scaled_linear",
  trainedBetas: null,
  zeroTerminalSnr: false,
  lastAlphaCumprod: 0,
};
const table = noiseTable(latent);

test("the latent models' schedule begins and ends where it is published to", () => {
  expect(table.alphasCumprod[0]).toBeCloseTo(0.99915, 7);
  expect(table.alphasCumprod[999]).toBeCloseTo(0.004660098513, 8);
  // published in float64; in float32, as diffusers has it, 1 − ᾱ has four digits left
  expect(table.sigmas[0]).toBeCloseTo(0.0291671582, 6);
  expect(table.sigmas[999]).toBeCloseTo(14.6146412293, 4);
});

test("the image's share only falls, and the noise only grows, in every schedule", () => {
  for (const betaSchedule of ["linear", "scaled_linear", "squaredcos_cap_v2"] as const) {
    const { alphasCumprod, sigmas } = noiseTable({ ...latent, betaSchedule });
    for (let i = 1; i < 1000; i++) {
      expect(alphasCumprod[i] ?? 1).toBeLessThan(alphasCumprod[i - 1] ?? 0);
      expect(sigmas[i] ?? 0).toBeGreaterThan(sigmas[i - 1] ?? 1);
    }
  }
});

test("betas are those of the named schedule, or the model's own", () => {
  expect(betasOf({ ...latent, betaSchedule: "linear" })[999]).toBeCloseTo(0.012, 9);
  const root = (Math.sqrt(0.00085) + (Math.sqrt(0.012) - Math.sqrt(0.00085)) * (300 / 999)) ** 2;
  expect(betasOf(latent)[300]).toBeCloseTo(root, 9);
  expect(betasOf({ ...latent, betaSchedule: "squaredcos_cap_v2" })[999]).toBeCloseTo(0.999, 7);
  expect([...betasOf({ ...latent, trainedBetas: [0.25, 0.5] })]).toEqual([0.25, 0.5]);
});

test("a rescaled schedule ends in pure noise and begins as before", () => {
  const rescaled = noiseTable({ ...latent, zeroTerminalSnr: true });
  expect(rescaled.alphasCumprod[999]).toBe(0);
  expect(rescaled.sigmas[999]).toBe(Number.POSITIVE_INFINITY);
  expect(rescaled.alphasCumprod[0]).toBeCloseTo(0.99915, 6);
  const bounded = noiseTable({ ...latent, zeroTerminalSnr: true, lastAlphaCumprod: 2 ** -24 });
  expect(bounded.sigmas[999]).toBeCloseTo(4096, 2);
});

test("trailing steps begin at the last training step", () => {
  expect(trailingTimesteps(10, 1000)).toEqual([999, 899, 799, 699, 599, 499, 399, 299, 199, 99]);
  expect(trailingTimesteps(4, 1000)).toEqual([999, 749, 499, 249]);
  expect(trailingTimesteps(8, 1000)).toEqual([999, 874, 749, 624, 499, 374, 249, 124]);
});

test("trailing sigmas are the published ones", () => {
  const published: Record<number, number[]> = {
    10: [14.6146, 8.3028, 5.0878, 3.3211, 2.2765, 1.6129, 1.1606, 0.8299, 0.5693, 0.3417],
    4: [14.6146, 4.0817, 1.6129, 0.6932],
    8: [14.6146, 7.2974, 4.0817, 2.4925, 1.6129, 1.069, 0.6932, 0.3977],
  };
  for (const [steps, sigmas] of Object.entries(published)) {
    const at = trailingTimesteps(Number(steps), 1000);
    for (const [i, sigma] of sigmas.entries())
      expect(interpolate(table.sigmas, at[i] ?? -1)).toBeCloseTo(sigma, 4);
  }
});

test("every count of trailing steps has that many, all of them training steps", () => {
  for (let steps = 1; steps <= 1000; steps++) {
    const timesteps = trailingTimesteps(steps, 1000);
    expect(timesteps.length).toBe(steps);
    expect(timesteps.at(-1)).toBeGreaterThanOrEqual(0);
  }
});

test("leading steps keep a whole stride and take the offset", () => {
  const timesteps = leadingTimesteps(25, 1000, 1);
  expect([timesteps[0], timesteps[1], timesteps[24]]).toEqual([961, 921, 1]);
  expect(interpolate(table.sigmas, 961)).toBeCloseTo(11.676, 3);
});

test("linspace has both ends, and its start alone for one number", () => {
  expect(linspace(0, 999, 4)).toEqual([0, 333, 666, 999]);
  expect(linspace(0, 999, 1)).toEqual([0]);
});

test("halves round to the even neighbour", () => {
  expect([0.5, 1.5, 2.5, -0.5, 2.4999, 2.5001].map(roundEven)).toEqual([0, 2, 2, 0, 2, 3]);
});

test("Karras levels reach both ends and are evenly spaced in the seventh root", () => {
  const sigmas = karrasSigmas(0.03, 14.6, 5);
  expect(sigmas[0]).toBeCloseTo(14.6, 10);
  expect(sigmas[4]).toBeCloseTo(0.03, 10);
  const roots = sigmas.map((s) => s ** (1 / 7));
  expect((roots[0] ?? 0) - (roots[1] ?? 0)).toBeCloseTo((roots[3] ?? 0) - (roots[4] ?? 0), 12);
});

test("beta levels reach both ends and lie at the quantiles of Beta(0.6, 0.6)", () => {
  // scipy.stats.beta.ppf([1, 0.9, 0.75, 0.5, 0.25, 0.1, 0], 0.6, 0.6)
  const at = (share: number): number => betaSigmas(0, 1, 1001)[Math.round(1000 * (1 - share))] ?? Number.NaN;
  for (const [share, x] of [
    [1, 1],
    [0.9, 0.9604155944],
    [0.75, 0.8243196213],
    [0.5, 0.5],
    [0.25, 0.1756803787],
    [0.1, 0.0395844056],
    [0, 0],
  ] as const)
    expect(at(share)).toBeCloseTo(x, 9);
  expect(betaSigmas(0.03, 14.6, 3)).toEqual([14.6, (0.03 + 14.6) / 2, 0.03]);
  expect(betaSigmas(0.03, 14.6, 1)).toEqual([14.6]);
});

test("the timestep of a level is the one that the level was read at", () => {
  for (const t of [0, 1, 500, 998, 999])
    expect(timestepOfSigma(table.sigmas[t] ?? 0, table.sigmas)).toBeCloseTo(t, 3);
  expect(timestepOfSigma(100, table.sigmas)).toBe(999);
  expect(timestepOfSigma(0, table.sigmas)).toBe(0);
});

test("a step count that a scheduler cannot take is refused", () => {
  for (const steps of [0, -1, 2.5, 51, Number.NaN]) {
    expect(() => checkSteps(steps, 50)).toThrow(
      `steps: expected a whole number from 1 to 50 for this scheduler, got ${steps} [E_REQUEST]`,
    );
  }
});
