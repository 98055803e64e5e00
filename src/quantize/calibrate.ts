/** The steps of every product of integers, from what the float network computes when it is fed what it was fed. */

import { compile } from "../engine/compile.ts";
import type { Value } from "../graph/op.ts";
import type { Engine } from "../runtime/session.ts";
import { dtypes } from "../tensor/dtype.ts";
import type { ChannelsRecipe, Rounding } from "../tensor/quantized.ts";
import { size } from "../tensor/shape.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { Observation } from "./observe.ts";
import type { LayerPlan } from "./plan.ts";

export type Feeds = Readonly<Record<string, Tensor>>;

export interface Network {
  readonly engine: Engine;
  /** The float weights. */
  readonly store: TensorStore;
  readonly threads?: number;
}

/** Values that are looked at in one program, in bytes: all of a U-Net's at once would take gigabytes. */
const PROGRAM_BYTES = 2 ** 28;

/**
 * How each layer of `plan` that multiplies integers rounds what it reads, and what it gives where it is a convolution.
 * @throws KoalaError E_WEIGHTS, E_ENGINE
 */
export async function calibrate(
  plan: readonly LayerPlan[],
  feeds: readonly Feeds[],
  network: Network,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<ReadonlyMap<string, ChannelsRecipe>> {
  const layers = plan.filter(({ form }) => form === "integers").map(({ layer }) => layer);
  const wanted = new Set(
    layers.flatMap(({ input, node, kind }) => (kind === "conv" ? [input, node] : [input])),
  );
  const roundings = new Map<Value, Rounding>();
  const groups = inGroups([...wanted]);
  for (const [i, group] of groups.entries()) {
    const seen = await observe(group, feeds, network, (done) =>
      onProgress(i * feeds.length + done, groups.length * feeds.length),
    );
    for (const [value, observation] of seen) roundings.set(value, observation.rounding());
  }
  const of = (value: Value): Rounding => roundings.get(value) as Rounding;
  return new Map(
    layers.map(({ weight, input, node, kind }) => [
      weight,
      { kind: "channels", input: of(input), ...(kind === "conv" ? { output: of(node) } : {}) },
    ]),
  );
}

function inGroups(values: readonly Value[]): Value[][] {
  const groups: Value[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const value of values) {
    const own = size(value.shape) * dtypes.float32.bytes;
    if (bytes + own > PROGRAM_BYTES) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)?.push(value);
    bytes += own;
  }
  return groups;
}

async function observe(
  values: readonly Value[],
  feeds: readonly Feeds[],
  network: Network,
  onRun: (done: number) => void,
): Promise<Map<Value, Observation>> {
  const named = Object.fromEntries(values.map((value, i) => [`seen.${i}`, value]));
  const seen = new Map(values.map((value) => [value, new Observation()]));
  await eachRun(named, feeds, network, (results, run) => {
    for (const [name, value] of Object.entries(named))
      seen.get(value)?.add(toFloat32(results[name] as Tensor));
    onRun(run + 1);
  });
  return seen;
}

/** Compiles `outputs` once and runs it on each of `feeds`, of which it takes what it reads. */
export async function eachRun(
  outputs: Readonly<Record<string, Value>>,
  feeds: readonly Feeds[],
  network: Network,
  visit: (results: Readonly<Record<string, Tensor>>, run: number) => void,
): Promise<void> {
  const program = await compile(outputs, network);
  try {
    for (const [run, all] of feeds.entries()) {
      const used = Object.entries(all).filter(([name]) => program.inputs[name] !== undefined);
      visit(await program.run(Object.fromEntries(used)), run);
    }
  } finally {
    await program.dispose();
  }
}
