/**
 * A denoiser as training knows it, whatever its architecture: what it is fed, what it says, how a student is cut out of it
 * and where that student can be compared with it. `unet.ts` and `dit.ts` beside this file are the two; nothing else tells
 * them apart.
 */

import type { TensorType, Value } from "../../graph/op.ts";
import { type Built, build } from "../../models/built.ts";
import type { JsonObject } from "../../models/config.ts";
import type { Scope } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";
import type { Denoiser, DenoiserSize } from "../../pipeline/networks.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { checkWeights } from "../../weights/check.ts";
import type { Batch as Loaded } from "../data/loader.ts";
import type { Cut, CutOptions } from "../distill/cut.ts";
import type { SiteOptions, Sites } from "../distill/sites.ts";

type Feeds = Readonly<Record<string, Tensor>>;

/** What a network is called with, by the names of its inputs; `sample` and `t_emb` are among them. */
export type NetworkInputs = Readonly<Record<string, Value>>;

export interface Network {
  /** Its folder in a model. */
  readonly name: Denoiser["name"];
  /** What it is called in a sentence. */
  readonly title: string;
  /** Its config.json. */
  readonly json: JsonObject;
  readonly store: TensorStore;
  /** Latent cells that height and width must divide by. */
  readonly unit: number;
  /** What must fit the model's other parts, in words. */
  readonly facts: string;
  /** Weights in its files that it does not read. */
  readonly ignorable: readonly RegExp[];
  inputs(size: DenoiserSize): Readonly<Record<string, TensorType>>;
  /** What it says of noisy latents `sample` [N, L, h, w]: the prediction, of the same shape. */
  predict(s: Scope, inputs: NetworkInputs): Value;
  /** Features of timesteps, a row each. */
  timeFeatures(timesteps: readonly number[]): Tensor;
  /** What it is told of a batch beside latents and timesteps; `hasZeroForEmpty`: "no caption" is zeros to it. */
  conditions(loaded: Loaded, hasZeroForEmpty: boolean): Feeds;
  /** A student by a rule's name. @throws KoalaError E_MODEL where the rule is unknown, or not for such a teacher; E_CONFIG */
  cut(rule: string, o?: CutOptions): Cut;
  /** Where a student with that config.json can be compared with it. @throws KoalaError E_CONFIG */
  sites(student: JsonObject, o: SiteOptions): Sites;
}

/** As a graph on its own; its output is `prediction`. */
export const buildNetwork = (
  network: Pick<Network, "inputs" | "predict">,
  size: DenoiserSize,
): Built<"prediction"> =>
  build(network.inputs(size), (s, inputs) => ({ prediction: network.predict(s, inputs) }));

/** The inputs of a network as leaves that are fed under its own names. */
export const networkInputs = (network: Pick<Network, "inputs">, size: DenoiserSize): NetworkInputs =>
  Object.fromEntries(Object.entries(network.inputs(size)).map(([name, type]) => [name, input(name, type)]));

/** A size at which names and shapes of weights can be read off. */
export const smallestSize = ({ unit }: Pick<Network, "unit">): DenoiserSize => ({
  batch: 1,
  height: 8 * unit,
  width: 8 * unit,
  tokens: 1,
});

/** @throws KoalaError E_WEIGHTS when the weights are not those that its config.json asks for */
export function checkNetwork(network: Network, where: string): void {
  const { parameters } = buildNetwork(network, smallestSize(network));
  checkWeights(network.store, new Map([...parameters].map(([name, { value }]) => [name, value.shape])), {
    where,
    ignorable: network.ignorable,
  });
}
