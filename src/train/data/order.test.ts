/** The order of samples and the batches made of it: counted over epochs. */

import { describe, expect, it } from "vitest";
import { float32, tensor } from "../../tensor/tensor.ts";
import { batchLoader, type LoaderOptions, type PreparedData, type PreparedSample } from "./loader.ts";
import { type Draw, Order, type OrderItem } from "./order.ts";

const item = (bucket: string, o: Partial<OrderItem> = {}): OrderItem => ({
  bucket,
  views: 1,
  captions: 1,
  group: null,
  weight: 1,
  ...o,
});

/** 23 in one bucket, 9 in another, 2 in a third. */
const items = [
  ...Array.from({ length: 23 }, () => item("64x64")),
  ...Array.from({ length: 9 }, () => item("96x48")),
  ...Array.from({ length: 2 }, () => item("48x96")),
];
const plain = { seed: 7, batch: 4, isBalanced: false, emptyCaptions: 0 };

const counts = (draws: readonly Draw[], n: number): number[] => {
  const out = new Array<number>(n).fill(0);
  for (const { sample } of draws) out[sample] = (out[sample] ?? 0) + 1;
  return out;
};

const message = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  return "no error";
};

describe("the order", () => {
  it("keeps a batch within one bucket", () => {
    const order = new Order(items, plain);
    for (let step = 0; step < 50; step++) {
      const { bucket, draws } = order.at(step);
      expect(draws).toHaveLength(4);
      expect(draws.every(({ sample }) => items[sample]?.bucket === bucket)).toBe(true);
    }
  });

  it("draws each sample once an epoch, what is left of a batch in the next one", () => {
    const order = new Order(items, plain);
    // after 4 epochs every bucket's stream ends with a batch: 92, 36 and 8 draws
    const steps = order.stepsBefore(4);
    expect(steps).toBe(34);
    const draws = Array.from({ length: steps }, (_, step) => order.at(step)).flatMap((s) => s.draws);
    expect(counts(draws, items.length)).toEqual(new Array(items.length).fill(4));
    const first = Array.from({ length: order.stepsBefore(1) }, (_, step) => order.at(step)).flatMap(
      (s) => s.draws,
    );
    expect(Math.max(...counts(first, items.length))).toBe(1);
  });

  it("is the same from any step, in any order of asking, and another for another seed or epoch", () => {
    const one = new Order(items, plain);
    const all = Array.from({ length: 60 }, (_, step) => one.at(step));
    const resumed = new Order(items, plain);
    for (const step of [59, 3, 40, 0, 17]) expect(resumed.at(step)).toEqual(all[step]);
    const other = new Order(items, { ...plain, seed: 8 });
    expect(Array.from({ length: 60 }, (_, step) => other.at(step))).not.toEqual(all);
    const samples = (from: number): number[] =>
      all.slice(from, from + 8).flatMap((s) => s.draws.map((d) => d.sample));
    expect(samples(0)).not.toEqual(samples(one.stepsBefore(1)));
    expect(all.map((s) => s.epoch)).toEqual([...all.map((s) => s.epoch)].sort((a, b) => a - b));
  });

  it("mixes buckets within an epoch", () => {
    const order = new Order(items, { ...plain, batch: 1 });
    const buckets = Array.from({ length: 34 }, (_, step) => order.at(step).bucket);
    const changes = buckets.filter((bucket, i) => i > 0 && bucket !== buckets[i - 1]).length;
    expect(changes).toBeGreaterThan(8);
  });

  it("fills a batch that is larger than the data set from later epochs", () => {
    const order = new Order([item("a"), item("a"), item("a")], { ...plain, batch: 8 });
    const draws = [0, 1, 2].flatMap((step) => order.at(step).draws);
    expect(counts(draws, 3)).toEqual([8, 8, 8]);
  });

  it("draws each group as often as another where it balances, and each member of it as often", () => {
    const people = Array.from({ length: 30 }, () => item("a", { group: "person" }));
    const things = ["apple", "car", "sun"].map((group) => item("a", { group }));
    const order = new Order([...people, ...things], { ...plain, batch: 33, isBalanced: true });
    const epochs = 40;
    const total = new Array<number>(33).fill(0);
    for (let step = 0; step < epochs; step++) {
      const own = counts(order.at(step).draws, 33);
      // 33 draws among 4 groups: 8.25 each, never more than one off
      const persons = own.slice(0, 30).reduce((a, b) => a + b, 0);
      for (const n of [persons, ...own.slice(30)]) expect(n === 8 || n === 9).toBe(true);
      own.forEach((n, i) => {
        total[i] = (total[i] ?? 0) + n;
      });
    }
    // a person is expected 8.25 / 30 · 40 = 11 times
    for (const n of total.slice(0, 30)) expect(Math.abs(n - 11)).toBeLessThan(10);
  });

  it("draws by weight, over buckets too", () => {
    const weighted = [
      item("a", { weight: 3 }),
      item("a"),
      item("b", { weight: 4 }),
      item("b", { weight: 2 }),
    ];
    const order = new Order(weighted, { ...plain, batch: 1 });
    const draws = Array.from({ length: order.stepsBefore(1000) }, (_, step) => order.at(step)).flatMap(
      (s) => s.draws,
    );
    // 4 draws an epoch: bucket a 4 · 4/10 → 2, b 4 · 6/10 → 2; within them 3 : 1 and 4 : 2
    const [a = 0, b = 0, c = 0, d = 0] = counts(draws, 4);
    expect(Math.abs(a / (a + b) - 0.75)).toBeLessThan(0.03);
    expect(Math.abs(c / (c + d) - 2 / 3)).toBeLessThan(0.03);
  });

  it("chooses among views and captions, and leaves captions empty at the asked rate", () => {
    const rich = Array.from({ length: 50 }, () => item("a", { views: 2, captions: 3 }));
    const order = new Order(rich, { ...plain, batch: 50, emptyCaptions: 0.1 });
    const draws = Array.from({ length: 60 }, (_, step) => order.at(step)).flatMap((s) => s.draws);
    const share = (of: (d: Draw) => boolean): number => draws.filter(of).length / draws.length;
    expect(Math.abs(share(({ view }) => view === 1) - 0.5)).toBeLessThan(0.04);
    expect(Math.abs(share(({ caption }) => caption === null) - 0.1)).toBeLessThan(0.02);
    for (const c of [0, 1, 2])
      expect(Math.abs(share(({ caption }) => caption === c) - 0.3)).toBeLessThan(0.04);
    const silent = new Order([item("a", { captions: 0 })], plain);
    expect(silent.at(0).draws[0]?.caption).toBeNull();
  });

  it("refuses a batch below 1, a share outside 0 to 1, and no samples", () => {
    expect(message(() => new Order(items, { ...plain, batch: 0 }))).toBe(
      "batch: expected a whole number above 0, got 0 [E_CONFIG]",
    );
    expect(message(() => new Order(items, { ...plain, emptyCaptions: 1.5 }))).toBe(
      "empty captions: expected a share from 0 to 1, got 1.5 [E_CONFIG]",
    );
    expect(message(() => new Order([], plain))).toBe(
      "training data: expected at least one sample, got none [E_CONFIG]",
    );
  });
});

describe("the loader", () => {
  const samples: PreparedSample[] = [0, 1, 2, 3, 4, 5].map((i) => {
    const [width, height] = i < 4 ? [2, 2] : [4, 1];
    return {
      id: `${i}.png`,
      hash: `${i}`,
      captions: [`caption ${i}`],
      group: null,
      weight: 1,
      views: [
        {
          original: { width: 100 + i, height: 200 },
          resized: { width, height },
          left: i,
          top: 1,
          target: { width, height },
          isFlipped: false,
        },
      ],
    };
  });
  const data: PreparedData = {
    samples,
    picture: async ({ hash, views: [{ target }] }) =>
      float32([2, target.height, target.width], new Array(8).fill(Number(hash))),
    caption: async (caption) => ({
      text: float32([1, 2], [caption.length, 0]),
      pooled: float32([1], [caption === "" ? -1 : Number(caption.slice(-1))]),
    }),
  };
  const options: LoaderOptions = { ...plain, batch: 4, rank: 0, world: 1, hasText: true };

  it("gives pictures, states and size numbers of the samples drawn", async () => {
    const batch = await batchLoader(data, options).at(1);
    const { width, height } = batch.size;
    expect(batch.pictures.shape).toEqual([4, 2, height, width]);
    expect(batch.text?.shape).toEqual([4, 1, 2]);
    const own = batch.ids.map((id) => Number(id[0]));
    expect([...(batch.pooled?.data ?? [])]).toEqual(own);
    expect(own.map((_, i) => batch.pictures.data[8 * i])).toEqual(own);
    expect(batch.captions).toEqual(own.map((i) => `caption ${i}`));
    expect(batch.sizes).toEqual(own.flatMap((i) => [200, 100 + i, 1, i, height, width]));
  });

  it("shares a batch among processes, so that their number changes nothing", async () => {
    const whole = batchLoader(data, options);
    const parts = [0, 1].map((rank) => batchLoader(data, { ...options, rank, world: 2 }));
    for (let step = 0; step < 9; step++) {
      const { ids } = await whole.at(step);
      const shares = await Promise.all(parts.map((part) => part.at(step)));
      expect(shares.flatMap((share) => share.ids)).toEqual(ids);
    }
  });

  it("gives the empty caption's states where it stands in, and no states where none are asked for", async () => {
    const empty = await batchLoader(data, { ...options, emptyCaptions: 1 }).at(0);
    expect([...(empty.pooled?.data ?? [])]).toEqual([-1, -1, -1, -1]);
    const silent = await batchLoader(data, { ...options, hasText: false }).at(0);
    expect([silent.text, silent.pooled]).toEqual([null, null]);
  });

  it("gives pixels in −1 to 1", async () => {
    const pixels = { ...data, picture: async () => tensor("uint8", [3, 1, 1], Uint8Array.of(0, 51, 255)) };
    const { pictures } = await batchLoader(pixels, { ...options, batch: 1 }).at(0);
    expect(pictures).toEqual(float32([1, 3, 1, 1], [-1, -0.6, 1]));
  });

  it("refuses a batch that the processes cannot share", () => {
    expect(message(() => batchLoader(data, { ...options, world: 3, rank: 1 }))).toBe(
      "batch: expected a multiple of the 3 processes, each of which takes an equal share, got 4 (process 1) [E_CONFIG]",
    );
  });
});
