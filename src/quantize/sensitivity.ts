/**
 * How much of a layer's result survives its rounding: the float network runs, and beside each layer its quantized twin,
 * which reads the same; one program measures them all.
 */

import { apply, labelled, type Value } from "../graph/op.ts";
import { mean, mul, param, sub } from "../ops/index.ts";
import type { ChannelsRecipe } from "../tensor/quantized.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import { type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { eachRun, type Feeds, type Network } from "./calibrate.ts";
import type { LayerPlan } from "./plan.ts";
import { quantizedStore } from "./store.ts";

/** No name of a checkpoint has a #. */
const TWIN = "#";

/**
 * Signal to noise in dB at the result of each layer that `recipes` names.
 * @throws KoalaError E_WEIGHTS, E_ENGINE
 */
export async function layerSnr(
  plan: readonly LayerPlan[],
  recipes: ReadonlyMap<string, ChannelsRecipe>,
  feeds: readonly Feeds[],
  network: Network,
): Promise<ReadonlyMap<string, number>> {
  const layers = plan.flatMap(({ layer }) => (recipes.has(layer.weight) ? [layer] : []));
  const outputs: Record<string, Value> = {};
  for (const { weight, shape, node, input } of layers) {
    labelled(node.label, () => {
      const twin = apply(node.op, [input, param(weight + TWIN, shape), ...node.inputs.slice(2)], node.attrs);
      const difference = sub(twin, node);
      outputs[`noise.${weight}`] = meanOf(mul(difference, difference));
      outputs[`signal.${weight}`] = meanOf(mul(node, node));
    });
  }
  if (layers.length === 0) return new Map();
  const sums = new Map<string, number>();
  const store = withTwins(network.store, recipes);
  await eachRun(outputs, feeds, { ...network, store }, (results) => {
    for (const [name, t] of Object.entries(results))
      sums.set(name, (sums.get(name) ?? 0) + (toFloat32(t as Tensor)[0] ?? 0));
  });
  const sum = (name: string): number => sums.get(name) ?? 0;
  return new Map(
    layers.map(({ weight }) => [weight, decibels(sum(`signal.${weight}`), sum(`noise.${weight}`))]),
  );
}

/** Of two powers; no noise at all counts as 200 dB, beyond what float32 resolves. */
export const decibels = (signal: number, noise: number): number =>
  noise === 0 ? 200 : signal === 0 ? 0 : 10 * Math.log10(signal / noise);

const meanOf = (x: Value): Value =>
  mean(
    x,
    x.shape.map((_, axis) => axis),
  );

/** Every float weight under its own name, and the quantized ones under their twin's. */
function withTwins(source: TensorStore, recipes: ReadonlyMap<string, ChannelsRecipe>): TensorStore {
  const renamed: TensorStore = {
    tensors: new Map(
      [...recipes.keys()].map((name) => [name + TWIN, source.tensors.get(name) as StoredTensor]),
    ),
    read: (name) => source.read(name.slice(0, -TWIN.length)),
  };
  const layers = Object.fromEntries([...recipes].map(([name, how]) => [name + TWIN, how]));
  const twins = quantizedStore(renamed, { layers });
  return {
    tensors: new Map([...source.tensors, ...twins.tensors]),
    recipe: { layers },
    read: (name) => (twins.tensors.has(name) ? twins.read(name) : source.read(name)),
  };
}
