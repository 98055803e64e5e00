/**
 * What drawing a picture will hold in memory, before anything is loaded, and how it is kept within a budget: networks are
 * loaded in turn, and the VAE decodes in stripes. The numbers are read off the graphs; how an engine exceeds them is measured.
 */

import { KoalaError } from "../core/errors.ts";
import { liveBytes } from "../graph/live.ts";
import type { Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import type { VaeConfig } from "../models/vae.ts";
import { buildDecoderMiddle, decoderPasses } from "../models/vae-stripes.ts";
import { hoist } from "../passes/hoist.ts";
import { dtypes } from "../tensor/dtype.ts";
import { size } from "../tensor/shape.ts";
import type { TensorStore } from "../tensor/stored.ts";

/**
 * The process without networks: Node, ONNX Runtime 1.30, the image library and the graphs as objects. Measured as what
 * koala-emoji's command took (235 MB in turn, 269 MB all loaded) beyond its networks' own bytes, on Linux.
 */
const PROCESS_BYTES = 165e6;

/** Values between layers by those that the graph has alive: ONNX Runtime 1.30 held 1.9 times as many for SDXL's decoder at 512 px. */
const VALUES_FACTOR = 1.9;

/** Weights by their size in float32, once they run: KOALA-700M's U-Net from float16 (3.13 GB as float32) ran in 3.67 GB at 512 px. */
const RUNNING_FACTOR = 1.1;

/**
 * The same for stripes: values by those alive, where the engine's arena is large beside one stripe, and maps by their own size,
 * with what is not collected yet. Taken so large that they cover SDXL's decoder in 8 and 32 stripes at 512 px (731 and 471 MB)
 * and 32 at 1024 px (1451 MB), and 70 MB that a command takes more than the script that measured them.
 */
const STRIPE_VALUES_FACTOR = 4;
const MAPS_FACTOR = 1.5;

/** A network that is loaded, run, and freed. */
export interface Network {
  /** `unet`, `text_encoder_2`, … */
  readonly name: string;
  readonly outputs: Readonly<Record<string, Value>>;
  readonly store: TensorStore;
  /** Inputs that differ from run to run; what rests on the others is computed before, by a program of its own. */
  readonly changing?: readonly string[];
}

export interface MemoryPlan {
  /** Bytes that the process takes while each network runs. */
  readonly stages: readonly { readonly name: string; readonly bytes: number }[];
  /** The most of them. */
  readonly peak: number;
  /** Whether all programs stay loaded between pictures. */
  readonly isTogether: boolean;
  /** Stripes that the VAE decodes in; null: whole. */
  readonly stripes: number | null;
}

export interface PlanOptions {
  /** Text encoders and denoiser, in the order in which they run. */
  readonly networks: readonly Network[];
  readonly decoder: Network;
  /** What can be decoded in stripes, and the latents' rows and columns; null: a decoder that cannot. */
  readonly kl: VaeConfig | null;
  readonly height: number;
  readonly width: number;
  /** Bytes for the whole process; null: no limit. */
  readonly limit: number | null;
  /** Whether a plan above the limit is refused, or the smallest one taken. */
  readonly isFirm: boolean;
  readonly vae: VaeChoice;
  /** Whether programs should stay loaded where there is room. */
  readonly mayStay: boolean;
}

/** How the VAE decodes: `auto` is whole where there is room. */
export const vaeChoices = ["auto", "full", "tiled"] as const;
export type VaeChoice = (typeof vaeChoices)[number];

/** What a network's weights take as the engine computes on them, and as they lie in their file. */
function weightBytes(outputs: readonly Value[], store: TensorStore): { held: number; stored: number } {
  if (store.recipe !== undefined) {
    const all = [...store.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    return { held: all, stored: all };
  }
  let [held, stored] = [0, 0];
  for (const { op, attrs, shape } of topological(outputs)) {
    if (op.name !== "param") continue;
    held += size(shape) * dtypes.float32.bytes;
    stored += size(shape) * dtypes[store.tensors.get(attrs.name as string)?.dtype ?? "float32"].bytes;
  }
  return { held, stored };
}

/**
 * The larger of what loading and running take. While a network is loaded its float32 copy and the mapped pages of its file
 * are resident together: a bound, of which KOALA-700M's whole picture at 512 px from float16 took 4.04 of 4.33 GB.
 */
function graphBytes(outputs: readonly Value[], store: TensorStore): number {
  const { held, stored } = weightBytes(outputs, store);
  return Math.max(held + stored, RUNNING_FACTOR * held + VALUES_FACTOR * liveBytes(outputs));
}

function networkBytes({ outputs, store, changing }: Network): number {
  const step = changing === undefined ? outputs : hoist(outputs, new Set(changing)).rest;
  return graphBytes(Object.values(step), store);
}

/** Bytes of the VAE in `stripes`: its largest pass, with the maps that lie between passes. Heights in latent rows. */
function stripeBytes(
  c: VaeConfig,
  store: TensorStore,
  height: number,
  width: number,
  stripes: number,
): number {
  let most = graphBytes(Object.values(buildDecoderMiddle(c, height, width).outputs), store);
  let rows = height / stripes;
  let across = width;
  const { passes, last } = decoderPasses(c);
  for (const pass of [...passes, last]) {
    const outputs = Object.values(pass.build(rows, across).outputs);
    const read = Object.values(pass.reads).reduce((sum, { channels }) => sum + channels * rows * across, 0);
    const isInPlace = pass.reads.x?.halo === 0;
    const written = isInPlace ? 0 : pass.channels * rows * across * pass.factor ** 2;
    const maps = MAPS_FACTOR * dtypes.float16.bytes * stripes * (read + written);
    const { held, stored } = weightBytes(outputs, store);
    const running = held + stored + STRIPE_VALUES_FACTOR * liveBytes(outputs);
    most = Math.max(most, maps + running);
    rows *= pass.factor;
    across *= pass.factor;
  }
  return most;
}

/** "3.74 GB". */
const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

/** Latent rows of the largest stripe to try: 64 px. */
const ROWS = 8;

/** The numbers of stripes to try, fewest first: divisors of the latents' height that leave `ROWS` rows or fewer. */
const stripeCounts = (height: number): number[] =>
  Array.from({ length: height }, (_, i) => i + 1).filter((n) => height % n === 0 && height / n <= ROWS);

/**
 * The plan that a request runs by.
 * @throws KoalaError E_MEMORY with the least that would do, E_FLAG for stripes of a decoder that has none
 */
export function planMemory(o: PlanOptions): MemoryPlan {
  const { kl, limit } = o;
  if (o.vae === "tiled" && kl === null)
    throw new KoalaError("E_FLAG", {
      where: "--vae",
      expected: "full, since this model's VAE is a tiny one that needs no tiles",
      got: "tiled",
    });
  const alone = o.networks.map((network) => ({
    name: network.name,
    bytes: PROCESS_BYTES + networkBytes(network),
  }));
  const whole = networkBytes(o.decoder);
  const planOf = (stripes: number | null): MemoryPlan => {
    const bytes =
      stripes === null || kl === null ? whole : stripeBytes(kl, o.decoder.store, o.height, o.width, stripes);
    const stages = [...alone, { name: o.decoder.name, bytes: PROCESS_BYTES + bytes }];
    return { stages, peak: Math.max(...stages.map((stage) => stage.bytes)), isTogether: false, stripes };
  };
  const fits = (plan: MemoryPlan): boolean => limit === null || plan.peak <= limit;
  const counts = kl === null || o.vae === "full" ? [] : stripeCounts(o.height);
  const plans = (o.vae === "tiled" ? counts : [null, ...counts]).map(planOf);
  const smallest = plans.reduce((a, b) => (b.peak < a.peak ? b : a));
  const chosen = plans.find(fits) ?? smallest;
  if (o.isFirm && !fits(chosen)) {
    const largest = smallest.stages.reduce((a, b) => (b.bytes > a.bytes ? b : a));
    throw new KoalaError("E_MEMORY", {
      where: "memory",
      expected: `at least ${gigabytes(smallest.peak)}, which ${largest.name} needs for this picture`,
      got: gigabytes(limit ?? 0),
      hint: "A smaller picture, guidance 1 or a quantized model (koala quantize) needs less.",
    });
  }
  const together = alone.reduce((sum, { bytes }) => sum + bytes - PROCESS_BYTES, PROCESS_BYTES + whole);
  const stays = o.mayStay && chosen.stripes === null && (limit === null || together <= limit);
  return stays ? { ...chosen, peak: together, isTogether: true } : chosen;
}

/** One line: "plan 3.74 GB: text_encoder 0.63, unet 3.74, vae 1.05 in 16 stripes; in turn". */
export function planText({ peak, stages, stripes, isTogether }: MemoryPlan): string {
  const each = stages.map(({ name, bytes }) => `${name} ${(bytes / 1e9).toFixed(2)}`).join(", ");
  const tiles = stripes === null ? "" : ` in ${stripes} stripes`;
  return `memory plan ${gigabytes(peak)}: ${each}${tiles}; ${isTogether ? "all stay loaded" : "one after another"}`;
}

/** What engines say when memory runs out, as one sentence with the plan that needs least. */
export function outOfMemory(error: unknown, smallest: () => MemoryPlan): unknown {
  const message = error instanceof Error ? error.message : String(error);
  if (!/bad_alloc|failed to allocate|out of memory|array buffer allocation failed/i.test(message))
    return error;
  const { stripes, peak } = smallest();
  return new KoalaError("E_MEMORY", {
    where: "memory",
    expected: `${gigabytes(peak)} free, the least for this picture`,
    got: "no more memory on this machine",
    hint: `${stripes === null ? "Close other programs" : "Try --vae tiled, or close other programs"}; nothing half-made is left.`,
    cause: error,
  });
}
