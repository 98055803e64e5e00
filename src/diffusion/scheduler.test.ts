/** Samplers against diffusers' trajectories and against the closed form of a Gaussian; configurations and their errors. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { fill } from "../../test/fill.ts";
import { KoalaError } from "../core/errors.ts";
import { parseJson } from "../core/json.ts";
import { TorchGenerator } from "../tensor/random.ts";
import type { Json } from "./fields.ts";
import type { Plan, PlanStep, StepChoice } from "./plan.ts";
import { fromDenoised } from "./prediction.ts";
import {
  type Predict,
  type Scheduler,
  type SchedulerName,
  schedulerFromConfig,
  schedulerNames,
  withScheduler,
} from "./scheduler.ts";

const where = "scheduler/scheduler_config.json";

interface Case {
  readonly name: string;
  readonly config: Json;
  readonly steps: StepChoice;
  readonly timesteps: readonly number[];
  readonly sigmas?: readonly number[];
  readonly initNoiseSigma: number;
  readonly maximum: number;
}

const goldenFile = (name: string): Buffer =>
  readFileSync(new URL(`../../test/golden/${name}`, import.meta.url));

const casesOf = (group: string): readonly Case[] =>
  (parseJson(goldenFile(`${group}.json`).toString()) as { readonly cases: readonly Case[] }).cases;

/** Tensors of a safetensors file of float32, by name. */
function trajectories(group: string): ReadonlyMap<string, Float32Array> {
  const bytes = new Uint8Array(goldenFile(`${group}.safetensors`));
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const read = (from: number, to: number) =>
    new Float32Array(bytes.slice(8 + length + from, 8 + length + to).buffer);
  const names = Object.keys(header).filter((name) => name !== "__metadata__");
  return new Map(
    names.map((name) => [name, read(header[name].data_offsets[0], header[name].data_offsets[1])]),
  );
}

test.each([
  "schedulers",
  "solvers",
])("diffusers' trajectories of the group %s are repeated within 1e-5", async (group) => {
  const cases = casesOf(group);
  const expected = trajectories(group);
  const c = fill("input.c", [1, 4, 3, 3]);
  const fake: Predict = async (x, { timestep }) =>
    x.map((v, i) => 0.3 * v + 0.1 * Math.sin(timestep / 100) * (c[i] ?? Number.NaN));
  expect(cases.length).toBe(expected.size);
  for (const { name, config, steps, timesteps, sigmas, initNoiseSigma, maximum } of cases) {
    const scheduler = schedulerFromConfig(config, where);
    const plan = scheduler.plan(steps);
    expect(
      plan.steps.map((s) => s.timestep),
      name,
    ).toEqual(timesteps.map((t) => expect.closeTo(t, 3)));
    expect(plan.initNoiseSigma / initNoiseSigma, name).toBeCloseTo(1, 6);
    for (const [i, { at, to }] of sigmas === undefined ? [] : plan.steps.entries()) {
      expect(at.noise / at.signal, name).toBeCloseTo(sigmas?.[i] ?? Number.NaN, 5);
      expect(to.noise / to.signal, name).toBeCloseTo(sigmas?.[i + 1] ?? Number.NaN, 5);
    }
    const rows = expected.get(name) ?? new Float32Array(0);
    const start = fill("input.noise", [1, 4, 3, 3]).map((v) => v * plan.initNoiseSigma);
    const generator = new TorchGenerator(1234);
    let worst = distance(start, rows.subarray(0, 36));
    let calls = 0;
    for await (const { x } of scheduler.sample(fake, start, plan, () => generator.randn(36))) {
      calls++;
      worst = Math.max(worst, distance(x, rows.subarray(36 * calls, 36 * calls + 36)));
    }
    expect(36 * (calls + 1), name).toBe(rows.length);
    expect(worst / maximum, name).toBeLessThanOrEqual(1e-5);
  }
});

function distance(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, v, i) => Math.max(most, Math.abs(v - (b[i] ?? Number.NaN))), 0);
}

/** SDXL's scheduler file. */
const sdxl: Json = {
  _class_name: "EulerDiscreteScheduler",
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  clip_sample: false,
  num_train_timesteps: 1000,
  prediction_type: "epsilon",
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
  timestep_spacing: "leading",
};

const start = new TorchGenerator(5).randn(64);
/** A Gaussian of this standard deviation is sampled. */
const spread = 0.7;

/** What a perfect network says of a Gaussian of mean 0: z₀ given x is signal · spread² / (signal² spread² + noise²) · x. */
function perfect(prediction: Scheduler["prediction"]): Predict {
  return async (input, { at }) => {
    const scale = 1 / Math.hypot(at.signal, at.noise);
    const x = input.map((v) => v / scale);
    const factor = (at.signal * spread ** 2) / (at.signal ** 2 * spread ** 2 + at.noise ** 2);
    const z0 = x.map((v) => factor * v);
    return fromDenoised(prediction, z0, x, at);
  };
}

async function last(
  scheduler: Scheduler,
  plan: Plan,
  predict: Predict,
  noise = (): Float32Array => start,
): Promise<Float32Array> {
  let x: Float32Array = start.map((v) => v * plan.initNoiseSigma);
  for await (const step of scheduler.sample(predict, x, plan, noise)) x = step.x;
  return x;
}

/** Distance from the exact end of the probability flow: x keeps its quantile from first level to last. */
async function flowError(scheduler: Scheduler, steps: number): Promise<number> {
  const plan = scheduler.plan(steps);
  const from = plan.steps[0]?.from;
  const to = plan.steps.at(-1)?.to;
  if (from === undefined || to === undefined) throw new Error("an empty plan");
  const width = (l: PlanStep["at"]) => Math.hypot(l.signal * spread, l.noise);
  const end = start.map((v) => (v * plan.initNoiseSigma * width(to)) / width(from));
  return distance(await last(scheduler, plan, perfect(scheduler.prediction)), end);
}

test("with the exact denoiser of a Gaussian, errors fall at each method's order", async () => {
  // levels whose ends stay put, so that only the step size changes
  const orders: readonly [SchedulerName, number, Json][] = [
    ["euler", 1, {}],
    ["ddim", 1, { set_alpha_to_one: true }],
    ["heun", 2, { use_karras_sigmas: true, sigma_min: 0.001, sigma_max: 14 }],
    ["dpmpp-2m-karras", 2, { final_sigmas_type: "sigma_min", lower_order_final: false }],
    ["dpmpp-2m-karras", 2, { final_sigmas_type: "sigma_min", lower_order_final: false, solver_type: "heun" }],
  ];
  for (const [name, order, extra] of orders) {
    const config = withScheduler({ ...sdxl, timestep_spacing: "trailing" }, name);
    const scheduler = schedulerFromConfig({ ...config, ...extra }, where);
    const [coarse, fine] = [await flowError(scheduler, 25), await flowError(scheduler, 100)];
    expect(Math.log(coarse / fine) / Math.log(4), name).toBeGreaterThan(order - 0.2);
  }
});

test("PNDM beats DDIM on the exact denoiser of a Gaussian", async () => {
  const error = (name: SchedulerName, steps: number, extra: Json = {}) =>
    flowError(schedulerFromConfig({ ...withScheduler(sdxl, name), ...extra }, where), steps);
  expect(await error("pndm", 50)).toBeLessThan((await error("ddim", 50)) / 3);
  expect(await error("pndm", 50, { skip_prk_steps: false })).toBeLessThan((await error("ddim", 50)) / 3);
});

test("all prediction types of a perfect network lead to the same image", async () => {
  // not PNDM: it combines what the network says over several levels, and v does not combine as epsilon does
  for (const name of schedulerNames.filter((n) => n !== "pndm")) {
    const ends = [];
    for (const prediction of ["epsilon", "v_prediction", "sample"]) {
      const config = withScheduler({ ...sdxl, prediction_type: prediction }, name);
      const scheduler = schedulerFromConfig(config, where);
      ends.push(await last(scheduler, scheduler.plan(8), perfect(scheduler.prediction)));
    }
    for (const end of ends) expect(distance(end, ends[0] ?? end), name).toBeLessThan(2e-4);
  }
});

/** The standard deviation at the end of a run of many unit noises. */
async function endDeviation(name: SchedulerName, steps: number, count: number): Promise<[number, Plan]> {
  const config = withScheduler({ ...sdxl, timestep_spacing: "trailing" }, name);
  const scheduler = schedulerFromConfig(config, where);
  const generator = new TorchGenerator(9);
  const plan = scheduler.plan(steps);
  let x: Float32Array = generator.randn(count).map((v) => v * plan.initNoiseSigma);
  const run = scheduler.sample(perfect("epsilon"), x, plan, () => generator.randn(count));
  for await (const step of run) x = step.x;
  return [Math.sqrt(x.reduce((a, v) => a + v * v, 0) / count), plan];
}

test("ancestral sampling of a perfect Gaussian ends with its spread", async () => {
  const [deviation] = await endDeviation("euler-a", 250, 6000);
  expect(Math.abs(deviation - spread)).toBeLessThan(0.03); // three standard errors, and the bias of 250 steps
});

test("stochastic DPM-Solver++ of a perfect Gaussian ends with its spread", async () => {
  const [deviation] = await endDeviation("dpmpp-2m-sde-karras", 60, 6000);
  expect(Math.abs(deviation - spread)).toBeLessThan(0.03); // three standard errors, and the bias of 60 steps
});

test("LCM sampling of a perfect Gaussian ends with the variance that its formula gives", async () => {
  const [deviation, plan] = await endDeviation("lcm", 4, 60000);
  let variance = 1;
  for (const [i, { at, to }] of plan.steps.entries()) {
    // the boundary scalings are 1 and 0 to seven digits at these timesteps
    variance *= ((at.signal * spread ** 2) / (at.signal ** 2 * spread ** 2 + at.noise ** 2)) ** 2;
    if (i < 3) variance = to.signal ** 2 * variance + to.noise ** 2;
  }
  expect(deviation / Math.sqrt(variance)).toBeCloseTo(1, 2);
});

test("a step reports its count, its timestep, the level it reached and the image it headed for", async () => {
  const scheduler = schedulerFromConfig({ ...sdxl, timestep_spacing: "trailing" }, where);
  const plan = scheduler.plan(4);
  const steps = [];
  for await (const step of scheduler.sample(
    perfect("epsilon"),
    start.map((v) => v * plan.initNoiseSigma),
    plan,
    () => start,
  ))
    steps.push(step);
  expect(steps.map((s) => [s.step, s.timestep])).toEqual([
    [1, 999],
    [2, 749],
    [3, 499],
    [4, 249],
  ]);
  expect(steps.map((s) => s.sigma)).toEqual(
    [4.0817, 1.6129, 0.6932, 0].map((sigma) => expect.closeTo(sigma, 4)),
  );
  expect(steps[3]?.denoised).toEqual(steps[3]?.x);
});

test("Euler starts at the largest sigma, or one variance above it with leading steps", () => {
  expect(schedulerFromConfig(sdxl, where).plan(25).initNoiseSigma).toBeCloseTo(11.7188, 3);
  expect(
    schedulerFromConfig({ ...sdxl, timestep_spacing: "trailing" }, where).plan(10).initNoiseSigma,
  ).toBeCloseTo(14.6146, 4);
});

test("every name makes the scheduler of that name, with the model's betas, prediction and spacing", () => {
  for (const name of schedulerNames) {
    const config = withScheduler({ ...sdxl, prediction_type: "v_prediction" }, name);
    expect(schedulerFromConfig(config, where)).toMatchObject({ name, prediction: "v_prediction" });
    expect(config).toMatchObject({
      beta_end: 0.012,
      beta_schedule: "scaled_linear",
      timestep_spacing: "leading",
    });
  }
});

test("a file that another class wrote does not clip latents nor start PLMS by Runge-Kutta", () => {
  const bare: Json = {
    _class_name: "EulerDiscreteScheduler",
    sigma_min: 0.1,
    beta_schedule: "scaled_linear",
  };
  expect(withScheduler(bare, "ddim")).toMatchObject({ clip_sample: false, sigma_min: null });
  expect(schedulerFromConfig(withScheduler(bare, "pndm"), where).plan(10).steps.length).toBe(11);
  expect(withScheduler({ ...bare, _class_name: "DDIMScheduler" }, "ddim")).not.toHaveProperty("clip_sample");
  expect(withScheduler(bare, "euler")).toMatchObject({ sigma_min: 0.1 });
});

test("a file of DPM-Solver++ keeps its own order, and is drawn by the first where it says so", async () => {
  const dpm = (order?: number): Json => ({
    ...{ ...sdxl, _class_name: "DPMSolverMultistepScheduler", use_karras_sigmas: true },
    ...(order === undefined ? {} : { solver_order: order }),
  });
  expect(withScheduler(dpm(1), "dpmpp-2m")).toMatchObject({ solver_order: 1, use_karras_sigmas: false });
  expect(withScheduler(dpm(1), "dpmpp-2m-karras")).toEqual({
    ...dpm(1),
    ...{ algorithm_type: "dpmsolver++", use_exponential_sigmas: false },
  });
  expect(withScheduler(dpm(1), "dpmpp-3m")).toMatchObject({ solver_order: 3, use_karras_sigmas: true });
  expect(withScheduler(dpm(3), "dpmpp-2m")).toMatchObject({ solver_order: 2 });
  expect(withScheduler(dpm(), "dpmpp-2m")).toMatchObject({ solver_order: 2 });
  expect(withScheduler({ ...sdxl, solver_order: 1 }, "dpmpp-2m")).toMatchObject({ solver_order: 2 });
  const ends: Json = {
    timestep_spacing: "trailing",
    final_sigmas_type: "sigma_min",
    lower_order_final: false,
  };
  const scheduler = schedulerFromConfig(withScheduler({ ...dpm(1), ...ends }, "dpmpp-2m-karras"), where);
  const [coarse, fine] = [await flowError(scheduler, 25), await flowError(scheduler, 100)];
  expect(Math.log(coarse / fine) / Math.log(4)).toBeCloseTo(1, 1);
});

test("the Runge-Kutta start makes twelve calls before the multistep ones", () => {
  const scheduler = schedulerFromConfig(
    { ...sdxl, _class_name: "PNDMScheduler", skip_prk_steps: false },
    where,
  );
  // PNDMScheduler(skip_prk_steps=False, steps_offset=1).set_timesteps(5) of diffusers 0.42
  expect(scheduler.plan(5).steps.map((s) => s.timestep)).toEqual([
    801, 701, 701, 601, 601, 501, 501, 401, 401, 301, 301, 201, 201, 1,
  ]);
  expect(() => scheduler.plan(3)).toThrow(
    "steps: expected a whole number from 4 to 1000 for this scheduler, got 3 [E_REQUEST]",
  );
});

test("a cosine schedule may leave out its noisiest training steps", () => {
  const config = {
    _class_name: "DPMSolverMultistepScheduler",
    beta_schedule: "squaredcos_cap_v2",
    lambda_min_clipped: -5.1,
  };
  // DPMSolverMultistepScheduler(**config).set_timesteps(4) of diffusers 0.42
  expect(
    schedulerFromConfig(config, where)
      .plan(4)
      .steps.map((s) => s.timestep),
  ).toEqual([995, 746, 498, 249]);
});

test("LCM takes no more steps than the model was distilled on", () => {
  const scheduler = schedulerFromConfig(withScheduler(sdxl, "lcm"), where);
  expect(scheduler.plan(4).steps.map((s) => s.timestep)).toEqual([999, 759, 499, 259]);
  expect(() => scheduler.plan(51)).toThrow(
    "steps: expected a whole number from 1 to 50 for this scheduler, got 51 [E_REQUEST]",
  );
});

/** The message of the KoalaError that `run` throws. */
function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof KoalaError) return error.message;
    throw error;
  }
  throw new Error("nothing was thrown");
}

test("an unknown class is named, with those supported", () => {
  const hint =
    "Any model can be sampled by another method: set the scheduler to one of euler, euler-a, heun, ddim, pndm, dpmpp-2m, dpmpp-2m-karras, dpmpp-2m-sde, dpmpp-2m-sde-karras, dpmpp-3m, unipc, lcm, tcd.";
  const classes =
    "EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, HeunDiscreteScheduler, DDIMScheduler, PNDMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler, LCMScheduler, TCDScheduler";
  for (const [name, got] of [
    ["DDPMScheduler", '"DDPMScheduler"'],
    ["constructor", '"constructor"'],
    [undefined, "nothing"],
  ]) {
    expect(messageOf(() => schedulerFromConfig({ _class_name: name }, where))).toBe(
      `${where} (_class_name): expected one of ${classes}, got ${got} [E_CONFIG]\n${hint}`,
    );
  }
});

test("a value that would change the picture and is not supported is named", () => {
  const said = (fields: Json) => messageOf(() => schedulerFromConfig({ ...sdxl, ...fields }, where));
  const dpm = "DPMSolverMultistepScheduler";
  expect(said({ prediction_type: "flow_prediction" })).toBe(
    `${where} (prediction_type): expected one of "epsilon", "v_prediction", "sample", got "flow_prediction" [E_CONFIG]`,
  );
  expect(said({ _class_name: "PNDMScheduler", prediction_type: "sample" })).toBe(
    `${where} (prediction_type): expected one of "epsilon", "v_prediction", got "sample" [E_CONFIG]`,
  );
  const others = `Any model can be sampled by another method: set the scheduler to one of ${schedulerNames.join(", ")}.`;
  expect(said({ _class_name: dpm, algorithm_type: "dpmsolver" })).toBe(
    `${where} (algorithm_type): expected one of "dpmsolver++", "sde-dpmsolver++", "deis", got "dpmsolver" [E_CONFIG]\n${others}`,
  );
  expect(said({ _class_name: dpm, algorithm_type: "sde-dpmsolver++", solver_order: 3 })).toBe(
    `${where} (solver_order): expected one of 1, 2, got 3 [E_CONFIG]\n${others}`,
  );
  expect(said({ _class_name: "UniPCMultistepScheduler", predict_x0: false })).toBe(
    `${where} (predict_x0): expected true or null, since its opposite is not supported, got false [E_CONFIG]`,
  );
  expect(said({ use_karras_sigmas: true, use_exponential_sigmas: true })).toBe(
    `${where}: expected one at most of use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas, got use_karras_sigmas and use_exponential_sigmas [E_CONFIG]`,
  );
  expect(said({ _class_name: dpm, use_flow_sigmas: true })).toBe(
    `${where} (use_flow_sigmas): expected false or null, since this feature is not supported, got true [E_CONFIG]`,
  );
  expect(said({ beta_start: "0.1" })).toBe(`${where} (beta_start): expected a number, got "0.1" [E_CONFIG]`);
  expect(said({ num_train_timesteps: 1 })).toBe(
    `${where} (num_train_timesteps): expected a whole number of at least 2, got 1 [E_CONFIG]`,
  );
  expect(said({ use_karras_sigmas: "yes" })).toBe(
    `${where} (use_karras_sigmas): expected true or false, got "yes" [E_CONFIG]`,
  );
  expect(said({ trained_betas: [0.1, null] })).toBe(
    `${where} (trained_betas): expected a list of numbers, or null, got [0.1,null] [E_CONFIG]`,
  );
});

test("other solvers' names are DPM-Solver's own to it, as diffusers reads them", async () => {
  const dpm = { ...sdxl, _class_name: "DPMSolverMultistepScheduler" };
  const planOf = (fields: Json) => schedulerFromConfig({ ...dpm, ...fields }, where).plan(7);
  expect(planOf({ algorithm_type: "deis", solver_type: "logrho" })).toEqual(planOf({}));
  expect(planOf({ solver_type: "bh2" })).toEqual(planOf({}));
});

test("a network that predicts noise cannot start where there is nothing else", () => {
  const scheduler = schedulerFromConfig(
    { ...sdxl, _class_name: "DDIMScheduler", rescale_betas_zero_snr: true, timestep_spacing: "trailing" },
    where,
  );
  expect(messageOf(() => scheduler.plan(10))).toBe(
    `${where} (prediction_type): expected "v_prediction" or "sample" with rescale_betas_zero_snr, since timestep 999 is all noise, got "epsilon" [E_CONFIG]`,
  );
});

test("a list of timesteps is visited as it is, by every method that can", () => {
  const list = [800, 500, 20];
  const visits = (name: SchedulerName) =>
    schedulerFromConfig(withScheduler(sdxl, name), where)
      .plan(list)
      .steps.map((s) => s.timestep);
  const own: readonly SchedulerName[] = ["pndm", "dpmpp-2m-karras", "dpmpp-2m-sde-karras"];
  for (const name of schedulerNames.filter((n) => !own.includes(n)))
    expect([name, visits(name)]).toEqual([name, list]);
  for (const name of own)
    expect(
      messageOf(() => visits(name)),
      name,
    ).toBe(
      "timesteps: expected none with this scheduler, whose timesteps are its own, got 800,500,20 [E_REQUEST]\nEuler, Heun, DDIM, UniPC, LCM, TCD and DPM-Solver take a list, where no curve lays their noise levels.",
    );
});

test("DDIM goes from each timestep of a list to the next, and from the last to its end", () => {
  const scheduler = schedulerFromConfig(withScheduler(sdxl, "ddim"), where);
  const { steps } = scheduler.plan([800, 500, 20]);
  expect(steps.map((s) => s.to)).toEqual([steps[1]?.at, steps[2]?.at, scheduler.plan([0]).steps[0]?.at]);
});

test("a list of timesteps falls, within the training steps", () => {
  const scheduler = schedulerFromConfig(sdxl, where);
  for (const [list, got] of [
    [[1000], "1000"],
    [[500, 500], "500, 500"],
    [[500.5], "500.5"],
    [[5, -1], "5, -1"],
    [[], "none"],
  ] as const)
    expect(messageOf(() => scheduler.plan(list))).toBe(
      `timesteps: expected falling whole numbers below 1000, the training steps of the model, got ${got} [E_REQUEST]`,
    );
});

test("a plan knows the steps of its whole schedule where it starts late", () => {
  const scheduler = schedulerFromConfig(withScheduler(sdxl, "dpmpp-2m"), where);
  const late = scheduler.later(scheduler.plan(20), 12);
  expect([late.steps.length, late.count]).toEqual([8, 20]);
});

test("an offset past the training steps is refused", () => {
  const scheduler = schedulerFromConfig({ ...sdxl, _class_name: "DDIMScheduler" }, where);
  expect(messageOf(() => scheduler.plan(1000))).toBe(
    "steps: expected timesteps below 1000, the training steps of the model, got timestep 1000 [E_REQUEST]\nTake fewer steps.",
  );
});
