/**
 * Which samples a training step sees: a pure function of seed and step, so that a run goes on anywhere without state.
 *
 * Each bucket is an endless stream: epoch after epoch of its samples, shuffled anew. A batch is the next stretch of one
 * bucket's stream, so what does not fill a batch leads the next epoch, and nobody is left out or drawn twice as often.
 * The batch spans all processes of a job; each takes its share, so that their number does not change what is seen.
 */

import { check } from "../../core/assert.ts";
import { fastGenerator } from "../../tensor/random.ts";

export interface OrderItem {
  /** Samples of one bucket share a batch. */
  readonly bucket: string;
  /** Views and captions to choose from at each draw. */
  readonly views: number;
  readonly captions: number;
  readonly group: string | null;
  readonly weight: number;
}

export interface OrderOptions {
  readonly seed: number;
  /** Samples of a step over all processes. */
  readonly batch: number;
  /** Whether each group is drawn as often as another, however many samples it has; a sample without one is its own group. */
  readonly isBalanced: boolean;
  /** Share of draws whose caption is replaced by the empty one, 0 to 1: for classifier-free guidance. */
  readonly emptyCaptions: number;
}

/** One place of a batch. */
export interface Draw {
  /** Index among the items. */
  readonly sample: number;
  readonly view: number;
  /** Index among the sample's captions; null: the empty caption. */
  readonly caption: number | null;
}

export interface StepDraws {
  readonly epoch: number;
  readonly bucket: string;
  readonly draws: readonly Draw[];
}

interface Bucket {
  readonly name: string;
  readonly items: readonly number[];
  /** Of drawing, one an item; null where all are equal. */
  readonly weights: Float64Array | null;
  /** Draws an epoch. */
  readonly draws: number;
}

/** Shuffled epochs that are kept: a batch may lie across two, and a step back is rare. */
const keptEpochs = 3;

export class Order {
  private readonly items: readonly OrderItem[];
  private readonly options: OrderOptions;
  private readonly buckets: readonly Bucket[];
  private readonly segments = new Map<string, readonly Draw[]>();
  private readonly plans = new Map<string, readonly (readonly [bucket: number, index: number])[]>();

  /** @throws KoalaError E_CONFIG for a batch below 1, a share outside 0 to 1, or no items */
  constructor(items: readonly OrderItem[], o: OrderOptions) {
    check(Number.isInteger(o.batch) && o.batch > 0, "E_CONFIG", () => ({
      where: "batch",
      expected: "a whole number above 0",
      got: `${o.batch}`,
    }));
    check(o.emptyCaptions >= 0 && o.emptyCaptions <= 1, "E_CONFIG", () => ({
      where: "empty captions",
      expected: "a share from 0 to 1",
      got: `${o.emptyCaptions}`,
    }));
    check(items.length > 0, "E_CONFIG", () => ({
      where: "training data",
      expected: "at least one sample",
      got: "none",
    }));
    this.items = items;
    this.options = o;
    this.buckets = makeStreams(items, drawWeights(items, o.isBalanced));
  }

  /** Steps from the start of the first epoch to the start of `epoch`; what is left of a batch then leads the epoch. */
  stepsBefore(epoch: number): number {
    const { batch } = this.options;
    return this.buckets.reduce((sum, { draws }) => sum + Math.floor((epoch * draws) / batch), 0);
  }

  /** What step `step`, from 0, sees. */
  at(step: number): StepDraws {
    const epoch = this.epochOf(step);
    const [b, index] = this.plan(epoch)[step - this.stepsBefore(epoch)] ?? [0, 0];
    const bucket = this.buckets[b] as Bucket;
    const { batch } = this.options;
    const draws = Array.from({ length: batch }, (_, i) => {
      const position = index * batch + i;
      const segment = this.segment(bucket, Math.floor(position / bucket.draws));
      return segment[position % bucket.draws] as Draw;
    });
    return { epoch, bucket: bucket.name, draws };
  }

  private epochOf(step: number): number {
    let high = 1;
    while (this.stepsBefore(high) <= step) high *= 2;
    let low = 0; // stepsBefore(low) <= step < stepsBefore(high)
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (this.stepsBefore(middle) <= step) low = middle;
      else high = middle;
    }
    return low;
  }

  /** The batches that are complete in `epoch`, shuffled: bucket, and index of the batch in its stream. */
  private plan(epoch: number): readonly (readonly [number, number])[] {
    return remembered(this.plans, `${epoch}`, keptEpochs, () => {
      const { batch, seed } = this.options;
      const batches = this.buckets.flatMap(({ draws }, b) => {
        const first = Math.floor((epoch * draws) / batch);
        const end = Math.floor(((epoch + 1) * draws) / batch);
        return Array.from({ length: end - first }, (_, i) => [b, first + i] as const);
      });
      return shuffled(batches, seed, `batches ${epoch}`);
    });
  }

  /** One epoch of a bucket's stream. */
  private segment(bucket: Bucket, epoch: number): readonly Draw[] {
    const key = `${bucket.name} ${epoch}`;
    return remembered(this.segments, key, keptEpochs * this.buckets.length, () => {
      const { seed, emptyCaptions } = this.options;
      const chosen = shuffled(this.chosen(bucket, epoch), seed, `order ${key}`);
      const random = new Float32Array(3 * chosen.length);
      fastGenerator(seed, `choice ${key}`).uniform(random, 0, 1);
      return chosen.map((sample, i): Draw => {
        const [view = 0, caption = 0, empty = 0] = random.subarray(3 * i, 3 * i + 3);
        const { views, captions } = this.items[sample] as OrderItem;
        const isEmpty = captions === 0 || empty < emptyCaptions;
        return {
          sample,
          view: Math.floor(view * views),
          caption: isEmpty ? null : Math.floor(caption * captions),
        };
      });
    });
  }

  /**
   * The samples of an epoch, unshuffled: each once where all weigh the same; else by systematic sampling, which gives
   * each its expected number of draws, rounded down or up, with the members of a group side by side in a new order each
   * epoch, so that the same holds for the group.
   */
  private chosen({ name, items, weights, draws }: Bucket, epoch: number): number[] {
    if (weights === null) return [...items];
    const { seed } = this.options;
    const indices = shuffled([...items.keys()], seed, `members ${name} ${epoch}`);
    const groupOf = (i: number): string => this.items[items[i] ?? 0]?.group ?? "";
    indices.sort((a, b) => (groupOf(a) < groupOf(b) ? -1 : groupOf(a) > groupOf(b) ? 1 : 0));
    const total = weights.reduce((a, b) => a + b, 0);
    const start = new Float32Array(1);
    fastGenerator(seed, `start ${name} ${epoch}`).uniform(start, 0, 1);
    const chosen: number[] = [];
    let sum = 0;
    for (const i of indices) {
      sum += weights[i] ?? 0;
      const until = Math.min(draws, (sum / total) * draws);
      while (chosen.length + (start[0] ?? 0) < until) chosen.push(items[i] ?? 0);
    }
    // rounding of the sum may leave the last place open
    while (chosen.length < draws) chosen.push(items[indices.at(-1) ?? 0] ?? 0);
    return chosen;
  }
}

/** One weight an item: its own, over the size of its group where groups are balanced. */
function drawWeights(items: readonly OrderItem[], isBalanced: boolean): number[] {
  const sizes = new Map<string, number>();
  for (const { group } of items) if (group !== null) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  return items.map(({ group, weight }) =>
    isBalanced && group !== null ? weight / (sizes.get(group) ?? 1) : weight,
  );
}

/** By name. An epoch draws as often as there are items, each bucket by its share of the weights. */
function makeStreams(items: readonly OrderItem[], weights: readonly number[]): Bucket[] {
  const members = new Map<string, number[]>();
  for (const [i, { bucket }] of items.entries()) {
    const list = members.get(bucket);
    if (list === undefined) members.set(bucket, [i]);
    else list.push(i);
  }
  const isUniform = weights.every((w) => w === weights[0]);
  const total = weights.reduce((a, b) => a + b, 0);
  return [...members]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, list]) => {
      if (isUniform) return { name, items: list, weights: null, draws: list.length };
      const own = Float64Array.from(list, (i) => weights[i] ?? 0);
      const share = own.reduce((a, b) => a + b, 0) / total;
      return { name, items: list, weights: own, draws: Math.max(1, Math.round(items.length * share)) };
    });
}

/** A new order of `list`: Fisher and Yates, by the sequence of `seed` and `name`. */
function shuffled<T>(list: readonly T[], seed: number, name: string): T[] {
  const out = [...list];
  const random = new Float32Array(out.length);
  fastGenerator(seed, name).uniform(random, 0, 1);
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor((random[i] ?? 0) * (i + 1));
    [out[i], out[j]] = [out[j] as T, out[i] as T];
  }
  return out;
}

/** The value of `key`, made once; the oldest of more than `most` is forgotten. */
function remembered<T>(map: Map<string, T>, key: string, most: number, make: () => T): T {
  const known = map.get(key);
  if (known !== undefined) return known;
  const value = make();
  map.set(key, value);
  if (map.size > most) map.delete(map.keys().next().value as string);
  return value;
}
