/** Small models to train, and what test/golden/training.json is compared by. */

import type { Value } from "../src/graph/op.ts";
import { clipText, clipTextConfig, clipTextInputs, eosRows } from "../src/models/clip-text.ts";
import { timestepEmbedding } from "../src/models/conditioning.ts";
import { unet, unetInputs } from "../src/models/unet.ts";
import { type UNetConfig, unetConfig } from "../src/models/unet-config.ts";
import { type VaeConfig, vaeConfig, vaeDecoder, vaeEncoder } from "../src/models/vae.ts";
import { fedLeaf, Scope } from "../src/nn/index.ts";
import { add, exp, input, mean, mul, slice, square, sub } from "../src/ops/index.ts";
import { host } from "../src/runtime/host.ts";
import type { Engine } from "../src/runtime/session.ts";
import type { TensorStore } from "../src/tensor/stored.ts";
import { float32, int64, type Tensor } from "../src/tensor/tensor.ts";
import { mse, weightedMse } from "../src/train/objective.ts";
import type { Objective } from "../src/train/segments.ts";
import type { Batch } from "../src/train/trainer.ts";
import { fill } from "./fill.ts";
import { goldenJson } from "./golden.ts";

export const golden = goldenJson("training.json");
export const { settings } = golden;
export const engine: Engine = await host.engine("ort");

export interface Task {
  readonly objective: Objective;
  readonly weights: ReadonlyMap<string, Value>;
  batch(index: number): Batch;
}

const fed = (s: Scope): Map<string, Value> =>
  new Map([...s.parameters].map(([name, { value }]) => [name, value]));
const filled = (name: string, shape: readonly number[]): Tensor => float32(shape, fill(name, shape));

export function filledStore(weights: ReadonlyMap<string, Value>): TensorStore {
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

export function unetTask(): Task {
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

export function vaeTask(): Task {
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

export function textTask(): Task {
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
export const projections = (name: string, { shape, data }: Tensor): number[] =>
  [0, 1, 2, 3].map((k) => {
    const direction = fill(`input.projection.${k}.${name}`, shape);
    return Math.sqrt(3) * direction.reduce((sum, x, i) => sum + x * Number(data[i]), 0);
  });

export const rootMeanSquare = (xs: readonly number[]): number =>
  Math.sqrt(xs.reduce((sum, x) => sum + x * x, 0) / xs.length);
