/** What is trained: batches, starting points, and the two ways of asking a teacher. */

import { describe, expect, it } from "vitest";
import { filledStore } from "../../../test/filled-store.ts";
import { goldenJson } from "../../../test/golden.ts";
import { thrownBy } from "../../../test/thrown-by.ts";
import { batchesFor } from "../../../test/training-batches.ts";
import { buildUNet } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import { host } from "../../runtime/host.ts";
import { type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { cutStore, cutUNet } from "../distill/cut.ts";
import { featurePairs } from "../distill/features.ts";
import { unetNetwork } from "../networks/unet.ts";
import { adamW } from "../optim/adam.ts";
import { createTrainer } from "../trainer.ts";
import { distillTask } from "./distill.ts";
import { parseFeatures } from "./feature-text.ts";
import { freshStore } from "./fresh.ts";
import { type NoisedOptions, noisedFeeds } from "./noised.ts";
import { trainingNoise } from "./schedule.ts";

const json = goldenJson("families/koala-1b/unet/config.json");
const config = unetConfig(json);
const size = { batch: 2, height: 8, width: 8, tokens: 4 };
const store = filledStore(buildUNet(config, size));
const network = unetNetwork(json, store);

const loader = batchesFor(config);
const data: NoisedOptions = {
  ...trainingNoise({ beta_schedule: "scaled_linear", beta_start: 0.00085, beta_end: 0.012 }, "scheduler"),
  ...{ loader, network, vae: { scalingFactor: 0.5, shiftFactor: 0 } },
  ...{ hasZeroForEmpty: true, seed: 1, weighting: { kind: "min-snr", gamma: 5 }, noiseOffset: 0 },
};
const engine = await host.engine("ort");

describe("a batch for a denoiser", () => {
  it("is the same whenever it is asked for, and another for another index or seed", async () => {
    const again = async (o: Partial<NoisedOptions>, index = 3) =>
      toFloat32((await noisedFeeds(index, { ...data, ...o })).sample as Tensor);
    const first = await again({});
    expect(await again({})).toEqual(first);
    expect(await again({ seed: 2 })).not.toEqual(first);
    expect(await again({}, 4)).not.toEqual(first);
  });

  it("has zeros for an empty caption where the pipeline has", async () => {
    const row = ({ text }: Record<string, Tensor>): number =>
      toFloat32(text as Tensor)
        .slice(4 * config.textChannels)
        .reduce((sum, x) => sum + Math.abs(x), 0);
    expect(row(await noisedFeeds(0, data))).toBe(0);
    expect(row(await noisedFeeds(0, { ...data, hasZeroForEmpty: false }))).toBeGreaterThan(1);
  });

  it("weighs every picture 1 without min-SNR", async () => {
    const { weight } = await noisedFeeds(0, { ...data, weighting: { kind: "uniform" } });
    expect([...toFloat32(weight as Tensor)]).toEqual([1, 1]);
  });

  it("has the picture itself as target where the model predicts it", async () => {
    const of = async (prediction: NoisedOptions["prediction"]) => {
      const { sample, target } = await noisedFeeds(0, { ...data, prediction });
      return { x: toFloat32(sample as Tensor), y: toFloat32(target as Tensor) };
    };
    const [e, v, z] = [await of("epsilon"), await of("v_prediction"), await of("sample")];
    // x = a z + s e and v = a e − s z, with a² + s² = 1: so a x − s v = z; a and s differ from row to row
    const half = e.x.length / 2;
    const [x, n, p] = [e.x[0] ?? 0, e.y[0] ?? 0, z.y[0] ?? 0];
    const [x1, n1, p1] = [e.x[1] ?? 0, e.y[1] ?? 0, z.y[1] ?? 0];
    const det = p * n1 - p1 * n;
    const [a, s] = [(x * n1 - x1 * n) / det, (p * x1 - p1 * x) / det];
    expect(a * a + s * s).toBeCloseTo(1, 3);
    for (let i = 0; i < half; i++) expect(a * (e.x[i] ?? 0) - s * (v.y[i] ?? 0)).toBeCloseTo(z.y[i] ?? 0, 3);
  });
});

describe("the noise of training", () => {
  it("is diffusers' DDPMScheduler's", () => {
    const { alphasCumprod, prediction } = trainingNoise(
      { beta_schedule: "scaled_linear", beta_start: 0.00085, beta_end: 0.012 },
      "scheduler",
    );
    expect(prediction).toBe("epsilon");
    expect(alphasCumprod).toHaveLength(1000);
    expect(alphasCumprod[0]).toBeCloseTo(1 - 0.00085, 7);
    expect(alphasCumprod[999]).toBeCloseTo(0.0046600951, 8); // diffusers 0.42: DDPMScheduler(...).alphas_cumprod[-1]
  });

  it("ends in pure noise with a zero terminal SNR, which ε cannot learn", () => {
    const zero = { rescale_betas_zero_snr: true, prediction_type: "v_prediction" };
    expect(trainingNoise(zero, "s").alphasCumprod[999]).toBe(0);
    expect(thrownBy(() => trainingNoise({ rescale_betas_zero_snr: true }, "s"))).toBe(
      's (prediction_type): expected "v_prediction" or "sample" with rescale_betas_zero_snr, since the last training step is all noise, got "epsilon" [E_CONFIG]',
    );
  });
});

describe("features as text", () => {
  it("are a set, or kinds with their stages", () => {
    expect(parseFeatures("bk-sdm")).toBe("bk-sdm");
    expect(parseFeatures("SA, LF:DW-1+UP-3")).toEqual({ SA: "all", LF: ["DW-1", "UP-3"] });
    expect(parseFeatures("SA:DW-2,LF,SA:UP-1+DW-2")).toEqual({ SA: ["DW-2", "UP-1"], LF: "all" });
    expect(parseFeatures("SA:DW-2,SA")).toEqual({ SA: "all" });
    expect(parseFeatures("SA,SA:DW-2")).toEqual({ SA: "all" });
  });

  it("are told when they are unknown", () => {
    expect(thrownBy(() => parseFeatures("SX"))).toBe(
      "features: expected koala, bk-sdm, all, or some of SA, CA, FFN, Res, LF with their stages, got SX [E_CONFIG]\nDid you mean SA?",
    );
    expect(thrownBy(() => parseFeatures(""))).toMatch(/got nothing \[E_CONFIG\]/);
    expect(thrownBy(() => parseFeatures("LF,SA:DW-2:UP-1"))).toBe(
      "features: expected stages with + between them: SA:DW-2+UP-1, got SA:DW-2:UP-1 [E_CONFIG]",
    );
  });
});

describe("fresh weights", () => {
  it("are what their layers say, the same for a seed", async () => {
    const { parameters } = buildUNet(config, size);
    const read = async (seed: number, name: string) => [
      ...toFloat32(await freshStore(parameters, seed).read(name)),
    ];
    expect(await read(1, "conv_norm_out.weight")).toEqual(new Array(config.down[0]?.channels).fill(1));
    expect(await read(1, "conv_in.weight")).toEqual(await read(1, "conv_in.weight"));
    expect(await read(2, "conv_in.weight")).not.toEqual(await read(1, "conv_in.weight"));
    const bound = 1 / Math.sqrt(9 * config.inChannels);
    for (const w of await read(1, "conv_in.weight")) expect(Math.abs(w)).toBeLessThanOrEqual(bound);
  });
});

describe("a student", () => {
  const cut = cutUNet(json, "koala-700m");
  const student = unetNetwork(cut.config, cutStore(cut, store, "teacher"));
  const options = {
    ...{
      teacher: network,
      student,
      size,
      data,
      accumulate: 2,
      detail: "stage",
      engine,
      threads: 1,
    },
    pairs: featurePairs(network, student, { plan: cut.plan, size }),
    weights: { task: 1, output: 0.5, feature: 2 },
    detail: "stage",
  } as const;

  it("loses the same beside its teacher and in turns with it", { timeout: 120_000 }, async () => {
    const losses = async (turn: number | null) => {
      const task = distillTask({ ...options, turn });
      const trainer = await createTrainer(task.objective, task.weights, task.initial, {
        ...{ engine, threads: 1, store: task.frozen, optimizer: adamW(), rate: () => 1e-3 },
      });
      const reports = [];
      for (const step of [1, 2]) reports.push(await trainer.train(await task.batches(step)));
      await trainer.dispose();
      await task.dispose();
      return reports;
    };
    const [together, apart] = [await losses(null), await losses(3)];
    for (const [i, { loss, terms }] of together.entries()) {
      expect(loss).toBeCloseTo((terms.task ?? 0) + 0.5 * (terms.output ?? 0) + 2 * (terms.feature ?? 0), 4);
      // the answers were kept in float16
      expect(Math.abs((apart[i]?.loss ?? 0) / loss - 1)).toBeLessThan(2e-3);
      expect(Object.keys(apart[i]?.terms ?? {})).toEqual(Object.keys(terms));
    }
  });

  it("that reads other things than its teacher is refused", () => {
    const other = unetNetwork(goldenJson("families/sd15/unet/config.json"), store);
    const act = () => distillTask({ ...options, student: other, pairs: [], turn: null });
    expect(thrownBy(act)).toMatch(
      /^student: expected a student that reads what its teacher reads, got another \w+( \w+ \w+)? \[E_CONFIG\]\nA student cut from the teacher does: koala cut shows how\.$/,
    );
  });
});
