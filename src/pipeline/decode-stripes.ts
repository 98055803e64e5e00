/**
 * The VAE's decoder run pass by pass over stripes of rows (models/vae-stripes.ts): in memory lie two maps in float16 and the
 * values of one stripe, whatever the height of the picture.
 */

import { check } from "../core/assert.ts";
import type { Program } from "../engine/program.ts";
import type { Built } from "../models/built.ts";
import type { VaeConfig } from "../models/vae.ts";
import {
  buildDecoderMiddle,
  decoderPasses,
  inverseDeviation,
  type MapName,
  type StripePass,
} from "../models/vae-stripes.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";

/** float16 [C, rows, W] a stripe. */
interface FeatureMap {
  readonly channels: number;
  readonly rows: number;
  readonly width: number;
  readonly stripes: readonly Uint16Array<ArrayBuffer>[];
  /** Mean and variance of each group over the whole map. */
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}

export interface StripeOptions {
  readonly config: VaeConfig;
  /** Stripes a picture; divides the height of the latents. */
  readonly stripes: number;
  readonly signal?: AbortSignal;
  compile(name: string, built: Built): Promise<Program>;
}

/**
 * `latents` [1, L, h, w] in the VAE's own scale → pixels [1, 3, H, W] in −1 to 1.
 * @throws KoalaError E_GRAPH for a number of stripes that does not divide h, E_ENGINE
 */
export async function decodeInStripes(latents: Tensor, o: StripeOptions): Promise<Tensor> {
  const { config: c, stripes: n } = o;
  const [, , height = 1, width = 1] = latents.shape;
  check(height % n === 0, "E_GRAPH", () => ({
    where: "stripes",
    expected: `a divisor of ${height}, the rows of the latents`,
    got: `${n}`,
  }));
  const maps: Partial<Record<MapName, FeatureMap>> = { x: await middleMap(latents, height, width, o) };
  const { passes, last } = decoderPasses(c);
  const run = async <T>(pass: StripePass, use: (program: Program) => Promise<T>): Promise<T> => {
    o.signal?.throwIfAborted();
    const { rows, width: across } = maps.x as FeatureMap;
    const program = await o.compile(pass.name, pass.build(rows, across));
    try {
      return await use(program);
    } finally {
      await program.dispose();
    }
  };
  for (const pass of passes)
    maps[pass.writes as MapName] = await run(pass, (program) => runPass(pass, program, maps, o));
  return run(last, (program) => runLast(last, program, maps, o));
}

/** The middle of the decoder is small, and attends over all of its cells: it is computed whole. */
async function middleMap(
  latents: Tensor,
  height: number,
  width: number,
  o: StripeOptions,
): Promise<FeatureMap> {
  const program = await o.compile("decoder.mid_block", buildDecoderMiddle(o.config, height, width));
  try {
    const { map, groupMeans, groupVariances } = await program.run({ latents });
    const all = (map as Tensor).data as Uint16Array<ArrayBuffer>;
    const channels = all.length / (height * width);
    const rows = height / o.stripes;
    return {
      ...{ channels, rows, width },
      stripes: Array.from({ length: o.stripes }, (_, i) => {
        const stripe = new Uint16Array(channels * rows * width);
        for (let k = 0; k < channels; k++) {
          const start = (k * height + i * rows) * width;
          stripe.set(all.subarray(start, start + rows * width), k * rows * width);
        }
        return stripe;
      }),
      mean: Float64Array.from((groupMeans as Tensor).data as Float32Array),
      variance: Float64Array.from((groupVariances as Tensor).data as Float32Array),
    };
  } finally {
    await program.dispose();
  }
}

type Maps = Readonly<Partial<Record<MapName, FeatureMap>>>;

/** Stripe `i` of a map with a row of each neighbour where the pass wants one, in `into`; zeros where the picture ends. */
function readStripe(map: FeatureMap, i: number, into: Uint16Array<ArrayBuffer>): Tensor {
  const { channels, rows, width, stripes } = map;
  const own = stripes[i] as Uint16Array<ArrayBuffer>;
  const [above, below] = [stripes[i - 1], stripes[i + 1]];
  if (above === undefined || below === undefined) into.fill(0);
  for (let k = 0; k < channels; k++) {
    const [from, to] = [k * rows * width, k * (rows + 2) * width];
    into.set(own.subarray(from, from + rows * width), to + width);
    if (above !== undefined) into.set(above.subarray(from + (rows - 1) * width, from + rows * width), to);
    if (below !== undefined) into.set(below.subarray(from, from + width), to + (rows + 1) * width);
  }
  return { dtype: "float16", shape: [1, channels, rows + 2, width], data: into };
}

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
function feeder(pass: StripePass, maps: Maps, n: number): (i: number) => Record<string, Tensor> {
  const steady = statisticsOf(pass, maps);
  const rows = (maps.x as FeatureMap).rows + 2;
  const reads = Object.entries(pass.reads).map(([name, { halo }]) => {
    const map = maps[name as MapName] as FeatureMap;
    const space = new Uint16Array(halo === 0 ? 0 : map.channels * rows * map.width);
    return { name, halo, map, space };
  });
  return (i) => {
    const feeds: Record<string, Tensor> = { ...steady };
    for (const { name, halo, map, space } of reads)
      feeds[name] =
        halo === 1
          ? readStripe(map, i, space)
          : {
              dtype: "float16",
              shape: [1, map.channels, map.rows, map.width],
              data: map.stripes[i] as Uint16Array<ArrayBuffer>,
            };
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
    const place = old?.stripes[i];
    const target = place === undefined || place.length < length ? new Uint16Array(length) : place;
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

async function runLast(pass: StripePass, program: Program, maps: Maps, o: StripeOptions): Promise<Tensor> {
  const { rows, width } = maps.x as FeatureMap;
  const height = rows * o.stripes;
  const pixels = new Float32Array(pass.channels * height * width);
  const feedsOf = feeder(pass, maps, o.stripes);
  for (let i = 0; i < o.stripes; i++) {
    o.signal?.throwIfAborted();
    const { picture } = await program.run(feedsOf(i));
    const part = (picture as Tensor).data as Float32Array;
    for (let k = 0; k < pass.channels; k++)
      pixels.set(part.subarray(k * rows * width, (k + 1) * rows * width), (k * height + i * rows) * width);
  }
  return float32([1, pass.channels, height, width], pixels);
}
