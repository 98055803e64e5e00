/** Fifty steps of each optimizer against PyTorch's in float64: see test/golden/README.md. */

import { describe, expect, it } from "vitest";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { adafactor } from "../../src/train/optim/adafactor.ts";
import { adamW } from "../../src/train/optim/adam.ts";
import { muon } from "../../src/train/optim/muon.ts";
import type { Optimizer } from "../../src/train/optim/transform.ts";
import { type Batch, createTrainer } from "../../src/train/trainer.ts";
import {
  engine,
  filledStore,
  golden,
  projections,
  rootMeanSquare,
  settings,
  unetTask,
} from "../training-tasks.ts";

describe.each<[string, () => Optimizer]>([
  ["adamW", () => adamW({ weightDecay: settings.weightDecay })],
  ["adafactor", () => adafactor({ weightDecay: settings.weightDecay })],
  ["muon", () => muon({ weightDecay: settings.weightDecay })],
])("50 steps of %s", (name, optimizer) => {
  it("lose what PyTorch's lose, with clipping and a moving average", async () => {
    const { objective, weights, batch } = unetTask();
    const expected = golden.curves[name];
    const trainer = await createTrainer(objective, weights, filledStore(weights), {
      engine,
      store: filledStore(new Map()),
      threads: 1,
      optimizer: optimizer(),
      rate: () => settings.rates[name],
      maxNorm: settings.maxNorm,
      emaCap: settings.emaCap,
    });
    const batches = Array.from({ length: settings.batches }, (_, i) => batch(i));
    for (let step = 0; step < settings.steps; step++) {
      const report = await trainer.train([batches[step % batches.length] as Batch]);
      expect(Math.abs(report.loss / expected.losses[step] - 1), `loss of step ${step}`).toBeLessThan(1e-3);
      expect(Math.abs(report.gradientNorm / expected.norms[step] - 1)).toBeLessThan(1e-2);
    }
    for (const [key, [norm, ...wanted]] of Object.entries<readonly number[]>(expected.averages)) {
      const got = projections(key, trainer.average?.get(key) as Tensor);
      const error = rootMeanSquare(got.map((x, k) => x - (wanted[k] as number)));
      expect(error, key).toBeLessThan(1e-4 * (norm as number));
    }
    await trainer.dispose();
  });
});
