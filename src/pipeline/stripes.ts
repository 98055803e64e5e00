/**
 * Passes of the VAE over stripes of rows (models/vae-stripes.ts): in memory lie two maps in float16 and the values of one stripe,
 * whatever the height of the picture.
 */

import { check } from "../core/assert.ts";
import type { Program } from "../engine/program.ts";
import type { Built } from "../models/built.ts";
import type { VaeConfig } from "../models/vae.ts";
import { inverseDeviation, type MapName, type StripePass } from "../models/vae-stripes.ts";
import type { Shape } from "../tensor/shape.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";

type Numbers = Uint16Array<ArrayBuffer> | Float32Array<ArrayBuffer>;

/** [C, rows, W] a stripe: float16, and float32 of a picture. */
export interface FeatureMap {
  readonly channels: number;
  readonly rows: number;
  readonly width: number;
  readonly stripes: readonly Numbers[];
  /** Mean and variance of each group over the whole map; none of a picture. */
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}

export type Maps = Partial<Record<MapName, FeatureMap>>;

export interface StripeOptions {
  readonly config: VaeConfig;
  /** Stripes a picture; divides the height of the latents. */
  readonly stripes: number;
  readonly signal?: AbortSignal;
  compile(name: string, built: Built): Promise<Program>;
}

/** @throws KoalaError E_GRAPH for a number of stripes that does not divide the latents' rows */
export function checkStripes(rows: number, stripes: number): void {
  check(rows % stripes === 0, "E_GRAPH", () => ({
    where: "stripes",
    expected: `a divisor of ${rows}, the rows of the latents`,
    got: `${stripes}`,
  }));
}

/** The passes one after another, each compiled for itself; `maps.x` is what the first reads and the last has written. */
export async function runPasses(passes: readonly StripePass[], maps: Maps, o: StripeOptions): Promise<void> {
  for (const pass of passes) {
    maps[pass.writes as MapName] = await usingPass(pass, maps, o, (program) =>
      runPass(pass, program, maps, o),
    );
    if (pass.factor !== 1) delete maps.h; // of the size before
  }
}

type Use<T> = (program: Program) => Promise<T>;

export function usingPass<T>(pass: StripePass, maps: Maps, o: StripeOptions, use: Use<T>): Promise<T> {
  const { rows, width } = maps.x as FeatureMap;
  return using(pass.name, pass.build(rows, width), o, use);
}

/** Compiles a program, uses it, and frees it. */
export async function using<T>(name: string, built: Built, o: StripeOptions, use: Use<T>): Promise<T> {
  o.signal?.throwIfAborted();
  const program = await o.compile(name, built);
  try {
    return await use(program);
  } finally {
    await program.dispose();
  }
}

/** `all` [1, C, H, W] in stripes of as many rows each. */
export function split({ data, shape }: Tensor, n: number): Omit<FeatureMap, "mean" | "variance"> {
  const [, channels = 1, height = 1, width = 1] = shape;
  const rows = height / n;
  const all = data as Numbers;
  return {
    ...{ channels, rows, width },
    stripes: Array.from({ length: n }, (_, i) => {
      const stripe = zerosLike(all, channels * rows * width);
      for (let k = 0; k < channels; k++) {
        const start = (k * height + i * rows) * width;
        stripe.set(all.subarray(start, start + rows * width), k * rows * width);
      }
      return stripe;
    }),
  };
}

const zerosLike = (all: Numbers | undefined, length: number): Numbers =>
  all instanceof Float32Array ? new Float32Array(length) : new Uint16Array(length);

/** Stripe `i` of [C, rows, width] into its place in `whole` [C, H, width]. */
export function place(stripe: Numbers, i: number, whole: Numbers, channels: number): void {
  const length = stripe.length / channels;
  const column = whole.length / channels;
  for (let k = 0; k < channels; k++)
    whole.set(stripe.subarray(k * length, (k + 1) * length), k * column + i * length);
}

/** Stripe `i` of a map with a row of each neighbour where the pass wants one, in `into`; zeros where the picture ends. */
function readStripe(map: FeatureMap, i: number, into: Numbers): Tensor {
  const { channels, rows, width, stripes } = map;
  const own = stripes[i] as Numbers;
  const [above, below] = [stripes[i - 1], stripes[i + 1]];
  if (above === undefined || below === undefined) into.fill(0);
  for (let k = 0; k < channels; k++) {
    const [from, to] = [k * rows * width, k * (rows + 2) * width];
    into.set(own.subarray(from, from + rows * width), to + width);
    if (above !== undefined) into.set(above.subarray(from + (rows - 1) * width, from + rows * width), to);
    if (below !== undefined) into.set(below.subarray(from, from + width), to + (rows + 1) * width);
  }
  return tensor([1, channels, rows + 2, width], into);
}

const tensor = (shape: Shape, data: Numbers): Tensor => ({
  ...{ dtype: data instanceof Float32Array ? "float32" : "float16", shape },
  data,
});

/** What a pass is fed beside its maps: statistics a channel, the same for every stripe. */
function statisticsOf(pass: StripePass, maps: Maps): Record<string, Tensor> {
  const map = pass.norm === null ? undefined : maps[pass.norm];
  if (map === undefined) return {};
  const share = map.channels / map.mean.length;
  const perChannel = (of: (group: number) => number): Tensor =>
    float32(
      [1, map.channels, 1, 1],
      Float32Array.from({ length: map.channels }, (_, k) => of(Math.floor(k / share))),
    );
  return {
    mean: perChannel((g) => map.mean[g] ?? 0),
    inverse: perChannel((g) => inverseDeviation(map.variance[g] ?? 0)),
  };
}

/** What stripe after stripe is fed. Its arrays are used again: garbage of their size would count as memory in use. */
export function feeder(pass: StripePass, maps: Maps, n: number): (i: number) => Record<string, Tensor> {
  const steady = statisticsOf(pass, maps);
  const rows = (maps.x as FeatureMap).rows + 2;
  const reads = Object.entries(pass.reads).map(([name, { halo }]) => {
    const map = maps[name as MapName] as FeatureMap;
    const length = halo === 0 ? 0 : map.channels * rows * map.width;
    return { name, halo, map, space: zerosLike(map.stripes[0], length) };
  });
  return (i) => {
    const feeds: Record<string, Tensor> = { ...steady };
    for (const { name, halo, map, space } of reads)
      feeds[name] =
        halo === 1
          ? readStripe(map, i, space)
          : tensor([1, map.channels, map.rows, map.width], map.stripes[i] as Numbers);
    if (pass.norm === null) return feeds;
    const inside = new Float32Array(rows).fill(1);
    if (i === 0) inside[0] = 0;
    if (i === n - 1) inside[rows - 1] = 0;
    return { ...feeds, inside: float32([1, 1, rows, 1], inside) };
  };
}

/** Where stripes are read without their neighbours, the result takes their place in memory. */
async function runPass(
  pass: StripePass,
  program: Program,
  maps: Maps,
  o: StripeOptions,
): Promise<FeatureMap> {
  const n = o.stripes;
  const from = maps.x as FeatureMap;
  const old = pass.reads.x?.halo === 0 ? from : pass.writes === "h" ? maps.h : undefined;
  const rows = from.rows * pass.factor;
  const width = from.width * pass.factor;
  const length = pass.channels * rows * width;
  const feedsOf = feeder(pass, maps, n);
  const result: Tensor = {
    dtype: "float16",
    shape: [1, pass.channels, rows, width],
    data: new Uint16Array(length),
  };
  const groups = o.config.groups;
  const mean = new Float64Array(groups);
  const squares = new Float64Array(groups);
  const stripes: Uint16Array<ArrayBuffer>[] = [];
  for (let i = 0; i < n; i++) {
    o.signal?.throwIfAborted();
    const results = await program.run(feedsOf(i), { map: result });
    const used = old?.stripes[i];
    const target = used instanceof Uint16Array && used.length >= length ? used : new Uint16Array(length);
    target.set(result.data as Uint16Array<ArrayBuffer>);
    stripes.push(target.subarray(0, length));
    const [stripeMean, stripeVariance] = [results.groupMeans as Tensor, results.groupVariances as Tensor];
    for (let g = 0; g < groups; g++) {
      // Chan et al. 1983: variances of equal parts are joined without the cancellation of E[x²] − E[x]²
      const m = stripeMean.data[g] as number;
      const delta = m - (mean[g] as number);
      mean[g] = (mean[g] as number) + delta / (i + 1);
      squares[g] =
        (squares[g] as number) + (stripeVariance.data[g] as number) + (delta * delta * i) / (i + 1);
    }
  }
  return { channels: pass.channels, rows, width, stripes, mean, variance: squares.map((v) => v / n) };
}
