/**
 * What drawing a picture will hold in memory, before anything is loaded, and how it is kept within a budget: networks are
 * loaded in turn, and the VAE works in stripes. The numbers are read off the graphs; how an engine exceeds them is measured.
 */

import { KoalaError } from "../core/errors.ts";
import { liveBytes } from "../graph/live.ts";
import type { Target, Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { type VaeConfig, vaeFactor } from "../models/vae.ts";
import {
  buildDecoderMiddle,
  buildEncoderEnd,
  decoderPasses,
  encoderPasses,
  type StripePass,
} from "../models/vae-stripes.ts";
import { hoist } from "../passes/hoist.ts";
import { quantize } from "../passes/quantize.ts";
import { dtypes } from "../tensor/dtype.ts";
import { size } from "../tensor/shape.ts";
import type { TensorStore } from "../tensor/stored.ts";

/**
 * The process without networks: Node, ONNX Runtime 1.30, the image library and the graphs as objects. Measured as what
 * koala-emoji's command took (235 MB in turn, 269 MB all loaded) beyond its networks' own bytes, on Linux.
 */
export const PROCESS_BYTES = 165e6;

/** Values between layers by those that the graph has alive: ONNX Runtime 1.30 held 1.9 times as many for SDXL's decoder at 512 px. */
export const VALUES_FACTOR = 1.9;

/**
 * The same where products are of integers, whose kernels have values of their own: KOALA-700M's U-Net in int8 at 1024 px held
 * 2.9 times as many for two prompts, and 2.7 for one.
 */
const INTEGER_VALUES_FACTOR = 3;

/** The same where products are of floats and weights in blocks, besides what `windowBytes` counts: 2.3 times in int4, for one prompt. */
const BLOCK_VALUES_FACTOR = 2.5;

/** Weights by their size in float32, once they run: KOALA-700M's U-Net from float16 (3.13 GB as float32) ran in 3.67 GB at 512 px. */
export const RUNNING_FACTOR = 1.1;

/**
 * Integer weights by their bytes in the file, while they are loaded and once they run. Measured: KOALA-700M's U-Net in int8, 1.15 and
 * 1.0 (kind `channels`); SDXL's larger text encoder in blocks of 8 bits, 1.25; KOALA-700M's U-Net in blocks of 4 bits, 2.6 and 1.8,
 * since ONNX Runtime sums each block beforehand, and convolutions are unpacked to a byte a weight.
 */
const integerFactors = {
  channels: { loading: 1.3, running: 1.1 },
  blocks8: { loading: 1.3, running: 1.3 },
  blocks4: { loading: 2.7, running: 1.8 },
} as const;

/**
 * The same for stripes: values by those alive, where the engine's arena is large beside one stripe, and maps by their own size,
 * with what is not collected yet. Taken so large that they cover SDXL's decoder in 8 and 32 stripes at 512 px (731 and 471 MB)
 * and 32 at 1024 px (1451 MB), and 70 MB that a command takes more than the script that measured them.
 */
const STRIPE_VALUES_FACTOR = 4;
const MAPS_FACTOR = 1.5;

/** While a program is written to be kept on disk: KOALA-700M's U-Net in int8 held 1.85 times its weights. */
const KEEPING_FACTOR = 2;

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
  /** Stripes that it encodes in, where a picture is started from; null: whole. */
  readonly encoderStripes: number | null;
  /** Whether a guided step is two runs of one prompt each, rather than one of both. */
  readonly isInTurns: boolean;
}

export interface PlanOptions {
  /** In the order in which they run. */
  readonly encoders: readonly Network[];
  readonly denoiser: Network;
  /** The denoiser for one prompt at a time; null where a step is one prompt's. */
  readonly inTurns: Network | null;
  /** Whether a step that guides may be one run of both prompts. */
  readonly mayBatch: boolean;
  /** The VAE's, where a picture is started from. */
  readonly pictureEncoder: Network | null;
  readonly decoder: Network;
  /** Whether the decoder makes previews: it then lies beside the denoiser too. */
  readonly hasPreviews: boolean;
  /** Of the engine. */
  readonly target: Target;
  /** A VAE that can work in stripes, and the latents' rows and columns; null: one that cannot. */
  readonly kl: VaeConfig | null;
  readonly height: number;
  readonly width: number;
  /** Bytes for the whole process; null: no limit. */
  readonly limit: number | null;
  /** Whether a plan above the limit is refused, or the smallest one taken. */
  readonly isFirm: boolean;
  readonly vae: VaeChoice;
  /** Whether programs are kept on disk: the first time, they are held while they are written. */
  readonly isKept: boolean;
  /** Whether programs should stay loaded where there is room. */
  readonly mayStay: boolean;
}

/** How the VAE works: `auto` is whole where there is room. */
export const vaeChoices = ["auto", "full", "tiled"] as const;
export type VaeChoice = (typeof vaeChoices)[number];

/** Where networks run: what of it their memory depends on. */
type Engine = Pick<PlanOptions, "target" | "isKept">;

/** What a network's weights take while they are loaded, and as the engine computes on them. */
function weightBytes(
  outputs: readonly Value[],
  { tensors, recipe }: TensorStore,
  { isKept }: Engine,
): { loading: number; running: number } {
  let [loading, running] = [0, 0];
  for (const { op, attrs, shape } of topological(outputs)) {
    if (op.name !== "param") continue;
    const name = attrs.name as string;
    const dtype = tensors.get(name)?.dtype ?? "float32";
    const stored = size(shape) * dtypes[dtype].bytes;
    const how = recipe?.layers[name];
    const own = how === undefined ? size(shape) * dtypes.float32.bytes : stored;
    const kind = how?.kind === "blocks" ? (`blocks${how.bits}` as const) : "channels";
    // floats: the engine's own copy and the pages of the file that it was made of, together
    const usual = how === undefined ? own + stored : integerFactors[kind].loading * own;
    loading += Math.max(usual, isKept ? KEEPING_FACTOR * own : 0);
    running += (how === undefined ? RUNNING_FACTOR : integerFactors[kind].running) * own;
  }
  return { loading, running };
}

/** What values take. */
function valueBytes(outputs: readonly Value[], { recipe }: TensorStore): number {
  const live = liveBytes(outputs);
  if (recipe === undefined) return VALUES_FACTOR * live;
  const order = topological(outputs);
  const isInteger = order.some(({ op }) => op.name === "integerConv" || op.name === "integerLinear");
  const factor = isInteger ? INTEGER_VALUES_FACTOR : BLOCK_VALUES_FACTOR;
  return factor * live + order.reduce((most, node) => Math.max(most, windowBytes(node)), 0);
}

/** A convolution whose weight is no constant lays out the windows of a picture in ONNX Runtime, every number once a tap. */
function windowBytes({ op, inputs: [, weight], shape }: Value): number {
  if (op.name !== "conv" || weight === undefined || weight.op.name === "param") return 0;
  const taps = size(weight.shape.slice(2));
  return taps === 1 ? 0 : dtypes.float32.bytes * size(weight.shape.slice(1)) * size(shape.slice(2));
}

/** The larger of what loading and running take. */
function graphBytes(outputs: readonly Value[], store: TensorStore, engine: Engine): number {
  const { loading, running } = weightBytes(outputs, store, engine);
  return Math.max(loading, running + valueBytes(outputs, store));
}

/** Counted on the graph that runs: with weights as they are stored, beside what is computed before the first step and kept. */
function networkBytes({ outputs, store, changing }: Network, engine: Engine): number {
  const { rest, prologue } =
    changing === undefined ? { rest: outputs, prologue: {} } : hoist(outputs, new Set(changing));
  const run = store.recipe === undefined ? rest : quantize(rest, store.recipe, engine.target);
  const kept = Object.values(prologue).reduce(
    (sum, { shape }) => sum + dtypes.float32.bytes * size(shape),
    0,
  );
  return kept + graphBytes(Object.values(run), store, engine);
}

/** Half of a VAE in passes: `middle` is computed whole, the passes in stripes of the rows that the first one reads. */
interface InStripes {
  readonly middle: Readonly<Record<string, Value>>;
  readonly passes: readonly StripePass[];
  readonly height: number;
  readonly width: number;
}

/** Of latents of so many rows and columns. */
function decoderInStripes(c: VaeConfig, height: number, width: number): InStripes {
  const { passes, last } = decoderPasses(c);
  return {
    ...{ height, width, passes: [...passes, last] },
    middle: buildDecoderMiddle(c, height, width).outputs,
  };
}

function encoderInStripes(c: VaeConfig, height: number, width: number): InStripes {
  const factor = vaeFactor(c);
  return {
    ...{ height: factor * height, width: factor * width, passes: encoderPasses(c) },
    middle: buildEncoderEnd(c, height, width).outputs,
  };
}

/** What the largest pass takes, with the maps that lie between passes. */
function stripeBytes(
  { middle, passes, height, width }: InStripes,
  store: TensorStore,
  stripes: number,
  engine: Engine,
): number {
  let most = graphBytes(Object.values(middle), store, engine);
  let rows = height / stripes;
  let across = width;
  for (const pass of passes) {
    const outputs = Object.values(pass.build(rows, across).outputs);
    const read = Object.values(pass.reads).reduce(
      (sum, { channels, dtype }) => sum + dtypes[dtype ?? "float16"].bytes * channels * rows * across,
      0,
    );
    const isInPlace = pass.reads.x?.halo === 0;
    const written = isInPlace ? 0 : dtypes.float16.bytes * pass.channels * rows * across * pass.factor ** 2;
    const maps = MAPS_FACTOR * stripes * (read + written);
    const running = weightBytes(outputs, store, engine).loading + STRIPE_VALUES_FACTOR * liveBytes(outputs);
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
  const stageOf = (network: Network) => ({
    name: network.name,
    bytes: PROCESS_BYTES + networkBytes(network, o),
  });
  const encoders = o.encoders.map(stageOf);
  /** The ways that half of the VAE may work, whole first. */
  function* waysOf(
    network: Network,
    half: (c: VaeConfig, height: number, width: number) => InStripes,
  ): Generator<{ name: string; bytes: number; stripes: number | null }> {
    const { name, store } = network;
    if (o.vae !== "tiled") yield { ...stageOf(network), stripes: null };
    if (kl === null || o.vae === "full") return;
    const passes = half(kl, o.height, o.width);
    for (const stripes of stripeCounts(o.height))
      yield { name, bytes: PROCESS_BYTES + stripeBytes(passes, store, stripes, o), stripes };
  }
  function* denoisers(): Generator<{ name: string; bytes: number; isInTurns: boolean }> {
    const { denoiser, inTurns } = o;
    if (o.mayBatch || inTurns === null) yield { ...stageOf(denoiser), isInTurns: false };
    if (inTurns !== null) yield { ...stageOf(inTurns), isInTurns: true };
  }
  const turns = o.hasPreviews ? [...denoisers()] : denoisers(); // both are asked for twice, or as far as one fits
  // one that makes previews must fit beside the smallest denoiser, for none fits in 0, and the denoiser is then chosen beside it
  const least = o.hasPreviews ? firstFit(turns, 0).bytes : PROCESS_BYTES;
  const decoder = firstFit(
    waysOf(o.decoder, decoderInStripes),
    limit === null ? null : limit - least + PROCESS_BYTES,
  );
  const eye = o.pictureEncoder === null ? [] : [firstFit(waysOf(o.pictureEncoder, encoderInStripes), limit)];
  const beside = o.hasPreviews ? decoder.bytes - PROCESS_BYTES : 0;
  const alone = firstFit(turns, limit === null ? null : limit - beside);
  const denoiser = { ...alone, bytes: alone.bytes + beside };
  const stages = [...encoders, ...eye, denoiser, decoder].map(({ name, bytes }) => ({ name, bytes }));
  const largest = stages.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  const { isInTurns } = denoiser;
  const { stripes } = decoder;
  const encoderStripes = eye[0]?.stripes ?? null;
  const plan = { stages, peak: largest.bytes, isTogether: false, stripes, encoderStripes, isInTurns };
  if (o.isFirm && limit !== null && plan.peak > limit)
    throw new KoalaError("E_MEMORY", {
      where: "memory",
      expected: `at least ${gigabytes(plan.peak)}, which ${largest.name} needs for this picture`,
      got: gigabytes(limit),
      hint: "A smaller picture or a quantized model (koala quantize) needs less.",
    });
  const together = stages.reduce((sum, { bytes }) => sum + bytes - PROCESS_BYTES, PROCESS_BYTES - beside);
  const isWhole = stripes === null && encoderStripes === null;
  const stays = o.mayStay && isWhole && (limit === null || together <= limit);
  return stays ? { ...plan, peak: together, isTogether: true } : plan;
}

/** The first that fits, else the smallest: each stage is alone in memory, so each is chosen for itself. None after it is counted. */
function firstFit<T extends { readonly bytes: number }>(ways: Iterable<T>, limit: number | null): T {
  let smallest: T | undefined;
  for (const way of ways) {
    if (limit === null || way.bytes <= limit) return way;
    if (smallest === undefined || way.bytes < smallest.bytes) smallest = way;
  }
  return smallest as T;
}

/** The stage of a picture that is started from. */
export const pictureEncoderName = "vae encoder";

/** One line: "memory plan 3.74 GB: text_encoder 0.63, unet 3.74, vae 1.05 in 16 stripes; one after another". */
export function planText({
  peak,
  stages,
  stripes,
  encoderStripes,
  isInTurns,
  isTogether,
}: MemoryPlan): string {
  const last = stages.length - 1; // the decoder
  const stripesOf = (name: string, i: number): number | null =>
    i === last ? stripes : name === pictureEncoderName ? encoderStripes : null;
  const each = stages.map(({ name, bytes }, i) => {
    const n = stripesOf(name, i);
    return `${name} ${(bytes / 1e9).toFixed(2)}${n === null ? "" : ` in ${n} stripes`}`;
  });
  const turns = isInTurns ? "; guidance in turns" : "";
  return `memory plan ${gigabytes(peak)}: ${each.join(", ")}${turns}; ${isTogether ? "all stay loaded" : "one after another"}`;
}

/** What engines say when memory runs out, as one sentence with the plan that needs least. */
export function outOfMemory(error: unknown, smallest: () => MemoryPlan): unknown {
  const message = error instanceof Error ? error.message : String(error);
  if (!/bad_alloc|failed to allocate|out of memory|array buffer allocation failed/i.test(message))
    return error;
  const { stripes, encoderStripes, peak } = smallest();
  return new KoalaError("E_MEMORY", {
    where: "memory",
    expected: `${gigabytes(peak)} free, the least for this picture`,
    got: "no more memory on this machine",
    hint: `${stripes === null && encoderStripes === null ? "Close other programs" : "Try --vae tiled, or close other programs"}; nothing half-made is left.`,
    cause: error,
  });
}
