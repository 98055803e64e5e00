/** Training against PyTorch: gradients of every parameter in float64, and curves of 50 steps. See test/golden/README.md. */

import { describe, expect, it } from "vitest";
import type { Value } from "../src/graph/op.ts";
import { clipText, clipTextConfig, clipTextInputs, eosRows } from "../src/models/clip-text.ts";
import { timestepEmbedding } from "../src/models/conditioning.ts";
import { unet, unetInputs } from "../src/models/unet.ts";
import { type UNetConfig, unetConfig } from "../src/models/unet-config.ts";
import { type VaeConfig, vaeConfig, vaeDecoder, vaeEncoder } from "../src/models/vae.ts";
import { fedLeaf, Scope } from "../src/nn/index.ts";
import { add, exp, input, mean, mul, slice, square, sub } from "../src/ops/index.ts";
import { host } from "../src/runtime/host.ts";
import type { TensorStore } from "../src/tensor/stored.ts";
import { float32, int64, type Tensor, toFloat32 } from "../src/tensor/tensor.ts";
import { layOut, makeArena } from "../src/train/arena.ts";
import { mse, weightedMse } from "../src/train/objective.ts";
import { adafactor } from "../src/train/optim/adafactor.ts";
import { adamW } from "../src/train/optim/adam.ts";
import type { Optimizer } from "../src/train/optim/transform.ts";
import type { Objective } from "../src/train/segments.ts";
import { compileGradients } from "../src/train/step.ts";
import { type Batch, createTrainer } from "../src/train/trainer.ts";
import { fill } from "./fill.ts";
import { goldenJson } from "./golden.ts";

const golden = goldenJson("training.json");
const { settings } = golden;
const engine = await host.engine("ort");

interface Task {
  readonly objective: Objective;
  readonly weights: ReadonlyMap<string, Value>;
  batch(index: number): Batch;
}

const fed = (s: Scope): Map<string, Value> =>
  new Map([...s.parameters].map(([name, { value }]) => [name, value]));
const filled = (name: string, shape: readonly number[]): Tensor => float32(shape, fill(name, shape));

function filledStore(weights: ReadonlyMap<string, Value>): TensorStore {
  return {
    tensors: new Map(
      [...weights].map(([name, { shape }]) => [
        name,
        { dtype: "float32", shape, file: null, offset: 0, byteLength: 0 },
      ]),
    ),
    read: async (name) => filled(name, weights.get(name)?.shape ?? []),
  };
}

function unetTask(): Task {
  const c: UNetConfig = unetConfig(goldenJson(`families/${settings.family}/unet/config.json`));
  const types = unetInputs(c, { batch: 2, height: 8, width: 8, tokens: settings.tokens });
  const s = new Scope("", new Map(), fedLeaf);
  const inputs = {
    sample: input("sample", types.sample),
    t_emb: input("t_emb", types.t_emb),
    text: input("text", types.text),
    pooled: input("pooled", types.pooled),
    time_ids: input("time_ids", types.time_ids),
  };
  const prediction = unet(s, inputs, c);
  const target = input("target", { shape: prediction.shape });
  const weight = input("weight", { shape: [2] });
  const sizes = timestepEmbedding(settings.timeIds.flat(), c.added?.sizeChannels ?? 0, c.sinusoid);
  const times = timestepEmbedding(settings.timesteps, c.down[0]?.channels ?? 0, c.sinusoid);
  return {
    objective: { terms: { task: weightedMse(prediction, target, weight) } },
    weights: fed(s),
    batch: (index) => ({
      sample: filled(`input.sample.${index}`, types.sample.shape),
      text: filled(`input.text.${index}`, types.text.shape),
      pooled: filled(`input.pooled.${index}`, types.pooled.shape),
      target: filled(`input.target.${index}`, target.shape),
      weight: float32([2], settings.weights),
      t_emb: float32(types.t_emb.shape, times),
      time_ids: float32(types.time_ids.shape, sizes),
    }),
  };
}

function vaeTask(): Task {
  const c: VaeConfig = vaeConfig(goldenJson("vae/sd/config.json"));
  const s = new Scope("", new Map(), fedLeaf);
  const image = input("image", { shape: [2, 3, 16, 16] });
  const noise = input("noise", { shape: [2, c.latentChannels, 2, 2] });
  const moments = vaeEncoder(s, image, c);
  const half = (part: number): Value =>
    slice(moments, { axis: 1, start: part * c.latentChannels, end: (part + 1) * c.latentChannels });
  const [average, logVariance] = [half(0), half(1)];
  const z = add(average, mul(exp(mul(logVariance, 0.5)), noise));
  const kl = mul(0.5, sub(sub(add(square(average), exp(logVariance)), 1), logVariance));
  const terms = { picture: mse(vaeDecoder(s, z, c), image), kl: mean(kl, [0, 1, 2, 3]) };
  return {
    objective: { terms, factors: { kl: 0.01 } },
    weights: fed(s),
    batch: () => ({ image: filled("input.image", image.shape), noise: filled("input.noise", noise.shape) }),
  };
}

function textTask(): Task {
  const c = clipTextConfig(goldenJson("text/projection/config.json"));
  const [batch, tokens] = [settings.inputIds.length, settings.inputIds[0].length];
  const types = clipTextInputs({ batch, tokens });
  const s = new Scope("", new Map(), fedLeaf);
  const out = clipText(s, { ids: input("ids", types.ids), eos: input("eos", types.eos) }, c);
  const dotMean = (x: Value, name: string): Value =>
    mean(
      mul(x, input(name, { shape: x.shape })),
      x.shape.map((_, axis) => axis),
    );
  const projected = out.projected as Value;
  const ids: number[] = settings.inputIds.flat();
  return {
    objective: { terms: { states: dotMean(out.last, "states"), vector: dotMean(projected, "vector") } },
    weights: fed(s),
    batch: () => ({
      ids: int64([batch, tokens], ids),
      eos: int64([batch], eosRows(ids, tokens, c.eosToken)),
      states: filled("input.states", out.last.shape),
      vector: filled("input.vector", projected.shape),
    }),
  };
}

/** The dot products of the golden: with tensors of unit variance, so that their mean square is a squared norm. */
const projections = (name: string, { shape, data }: Tensor): number[] =>
  [0, 1, 2, 3].map((k) => {
    const direction = fill(`input.projection.${k}.${name}`, shape);
    return Math.sqrt(3) * direction.reduce((sum, x, i) => sum + x * Number(data[i]), 0);
  });

const rootMeanSquare = (xs: readonly number[]): number =>
  Math.sqrt(xs.reduce((sum, x) => sum + x * x, 0) / xs.length);

describe.each([
  ["unet", unetTask, []],
  ["unet in five segments", unetTask, ["down_blocks.0", "down_blocks.1", "down_blocks.2", "up_blocks.0"]],
  ["vae", vaeTask, []],
  ["text", textTask, []],
] as const)("the gradients of %s", (name, task, cuts) => {
  it("are PyTorch's in float64, for every parameter", async () => {
    const { objective, weights, batch } = task();
    const expected = golden.gradients[name.split(" ")[0] as string];
    expect([...weights.keys()].sort()).toEqual(Object.keys(expected.parameters).sort());

    const layout = layOut([...weights].map(([key, { shape }]) => [key, shape] as const));
    const [values, gradients] = [makeArena(layout), makeArena(layout)];
    for (const [key, t] of values.tensors) toFloat32(t).set(fill(key, t.shape));
    const program = await compileGradients(objective, weights, {
      engine,
      store: filledStore(new Map()),
      threads: 1,
      cuts,
    });
    const terms = await program.run(batch(0), values.tensors, gradients.tensors);
    await program.dispose();

    const factors = objective.factors ?? {};
    const loss = Object.entries(terms).reduce((sum, [key, x]) => sum + (factors[key] ?? 1) * x, 0);
    expect(Math.abs(loss - expected.loss)).toBeLessThan(1e-5 * Math.abs(expected.loss));
    const rows = Object.entries<readonly number[]>(expected.parameters);
    const all = Math.hypot(...rows.map(([, row]) => row[0] as number));
    for (const [key, [norm, ...wanted]] of rows) {
      const got = projections(key, gradients.tensors.get(key) as Tensor);
      const error = rootMeanSquare(got.map((x, k) => x - (wanted[k] as number)));
      expect(error, key).toBeLessThan(1e-4 * (norm as number) + 1e-6 * all);
    }
  });
});

describe.each<[string, () => Optimizer]>([
  ["adamW", () => adamW({ weightDecay: settings.weightDecay })],
  ["adafactor", () => adafactor({ weightDecay: settings.weightDecay })],
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
