/**
 * The recipe for a denoiser: planned, calibrated, measured, and the worst layers left out until its prediction is good enough or
 * no more can be spared.
 */

import type { Value } from "../graph/op.ts";
import { flopsOf } from "../models/census.ts";
import type { ChannelsRecipe, LayerRecipe, Recipe } from "../tensor/quantized.ts";
import { type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { calibrate, eachRun, type Feeds, type Network } from "./calibrate.ts";
import { type Format, inBlocksOf, type LayerPlan, planLayers } from "./plan.ts";
import { decibels, layerSnr } from "./sensitivity.ts";
import { quantizedStore } from "./store.ts";

/** A denoiser of a size in latent cells and text tokens. */
export type DenoiserGraph = (size: {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly tokens: number;
}) => Readonly<Record<string, Value>>;

export interface KeptOut {
  /** The weight's name. */
  readonly weight: string;
  readonly reason: string;
}

export interface DenoiserResult {
  readonly recipe: Recipe;
  /** Of the arithmetic of one step, in products of integers: 0 to 1. */
  readonly integerShare: number;
  /** Of the prediction against the float network's, both fed what the float network met, in dB. */
  readonly snr: number;
  /** Layers that a format could hold in its fewest bits, and why they are not. */
  readonly keptOut: readonly KeptOut[];
}

export interface DenoiserOptions extends Network {
  readonly format: Format;
  /** What the float network was fed at steps of real pictures: at least one. */
  readonly feeds: readonly Feeds[];
  /** In dB: layers are left out until it holds, or until they are a twentieth of the arithmetic. */
  readonly targetSnr: number;
  /** Says what is done now. */
  onStage?(text: string, done: number, total: number): void;
}

/** What differs from step to step; the rest is the prompt's. */
const CHANGING: ReadonlySet<string> = new Set(["sample", "t_emb"]);

/** Steps on which the recipe is measured. */
export const MEASURED_STEPS = 8;

/** @throws KoalaError E_WEIGHTS, E_ENGINE */
export async function quantizeDenoiser(graph: DenoiserGraph, o: DenoiserOptions): Promise<DenoiserResult> {
  const outputs = graphFor(graph, o.feeds[0] as Feeds);
  const plan = planLayers(outputs, o.format, CHANGING);
  const say = o.onStage ?? (() => {});
  const integers = await calibrate(plan, o.feeds, o, (done, total) => say("calibrate", done, total));
  const measured = spread(o.feeds, MEASURED_STEPS);
  say("measure", 0, 1);
  const expected = await predictions(outputs, measured, o);
  const ranks = [...(await layerSnr(plan, integers, measured, o))].sort((a, b) => a[1] - b[1]);

  const worst = affordable(
    plan,
    ranks.map(([weight]) => weight),
  ); // first the one that may go first
  const between: number[] = [];
  for (let count = 1; count < worst.length; count = 2 * count + 1) between.push(count);
  let tries = 0;
  const tried = async (count: number): Promise<DenoiserResult> => {
    say("measure", tries++, 2 + between.length);
    const left = new Set(worst.slice(0, count));
    const recipe = recipeOf(plan, integers, left);
    const snr = await snrOf(outputs, recipe, measured, expected, o);
    const integerShare = shareOf(outputs, plan, recipe);
    return { recipe, snr, integerShare, keptOut: keptOut(plan, left, new Map(ranks)) };
  };
  const none = await tried(0);
  if (none.snr >= o.targetSnr || worst.length === 0) return none;
  const all = await tried(worst.length);
  // each try loads a network: where all of them are too few, what lies between need not be tried
  if (all.snr >= o.targetSnr)
    for (const count of between) {
      const some = await tried(count);
      if (some.snr >= o.targetSnr) return some;
    }
  return all;
}

/** Of the arithmetic in integers, what may go back to floats for the sake of precision: all else would buy no speed. */
const AFFORDABLE = 0.05;

/** Those of `weights`, in their order, that can be left out together. */
function affordable(plan: readonly LayerPlan[], weights: readonly string[]): string[] {
  const costs = new Map(
    plan
      .filter(({ form }) => form === "integers")
      .map(({ layer }) => [layer.weight, flopsOfNode(layer.node)]),
  );
  let left = AFFORDABLE * [...costs.values()].reduce((a, b) => a + b, 0);
  return weights.filter((weight) => {
    const cost = costs.get(weight) ?? 0;
    if (cost > left) return false;
    left -= cost;
    return true;
  });
}

const flopsOfNode = (node: Value): number =>
  node.op.flops(
    node.inputs.map((x) => x.type),
    node.type,
    node.attrs,
  );

/** The denoiser at the size of the feeds. */
function graphFor(graph: DenoiserGraph, feeds: Feeds): Readonly<Record<string, Value>> {
  const [batch = 1, , height = 1, width = 1] = feeds.sample?.shape ?? [];
  const tokens = feeds.text?.shape[1] ?? 1;
  return graph({ batch, height, width, tokens });
}

/** The fractional part of the golden ratio: its multiples, less their whole parts, fall in step with no period. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/** At most `count` of them, spread over all, and over what returns every so often: pictures of so many steps each. */
export function spread<T>(all: readonly T[], count: number): T[] {
  const places = all.map((_, i) => (i * GOLDEN) % 1);
  const last = [...places].sort((a, b) => a - b)[count - 1] ?? 1;
  return all.filter((_, i) => (places[i] ?? 0) <= last);
}

function recipeOf(
  plan: readonly LayerPlan[],
  integers: ReadonlyMap<string, ChannelsRecipe>,
  left: ReadonlySet<string>,
): Recipe {
  const entries = plan.flatMap(({ layer, form }): [string, LayerRecipe][] => {
    if (form === "float") return [];
    if (form !== "integers") return [[layer.weight, form]];
    // what integers spoil keeps its products in floats; its weight takes 8 bits still
    const how = left.has(layer.weight) ? inBlocksOf(8) : integers.get(layer.weight);
    return how === undefined ? [] : [[layer.weight, how]];
  });
  return { layers: Object.fromEntries(entries) };
}

function keptOut(
  plan: readonly LayerPlan[],
  left: ReadonlySet<string>,
  local: ReadonlyMap<string, number>,
): KeptOut[] {
  return plan.flatMap(({ layer: { weight }, reason }) => {
    const db = local.get(weight) ?? 0;
    if (left.has(weight)) return [{ weight, reason: `its own result keeps only ${db.toFixed(1)} dB` }];
    return reason === "" ? [] : [{ weight, reason }];
  });
}

/** Operations of `channels` layers against all of the step's. */
function shareOf(
  outputs: Readonly<Record<string, Value>>,
  plan: readonly LayerPlan[],
  recipe: Recipe,
): number {
  const own = plan
    .filter(({ layer }) => recipe.layers[layer.weight]?.kind === "channels")
    .map(({ layer }) => flopsOfNode(layer.node));
  return own.reduce((a, b) => a + b, 0) / flopsOf(Object.values(outputs));
}

async function predictions(
  outputs: Readonly<Record<string, Value>>,
  feeds: readonly Feeds[],
  network: Network,
): Promise<Float32Array[]> {
  const all: Float32Array[] = [];
  await eachRun(outputs, feeds, network, ({ prediction }) => all.push(toFloat32(prediction as Tensor)));
  return all;
}

async function snrOf(
  outputs: Readonly<Record<string, Value>>,
  recipe: Recipe,
  feeds: readonly Feeds[],
  expected: readonly Float32Array[],
  network: Network,
): Promise<number> {
  const store = quantizedStore(network.store, recipe);
  let signal = 0;
  let noise = 0;
  for (const [i, got] of (await predictions(outputs, feeds, { ...network, store })).entries())
    for (const [j, wanted] of (expected[i] as Float32Array).entries()) {
      signal += wanted * wanted;
      noise += (wanted - (got[j] ?? 0)) ** 2;
    }
  return decibels(signal, noise);
}
