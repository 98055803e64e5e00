import { describe, expect, it } from "vitest";
import { fakeJob } from "../../test/fake-job.ts";
import { KoalaError } from "../core/errors.ts";
import {
  BUCKET,
  buckets,
  byFirst,
  type Communicator,
  firstThenOthers,
  isOnAny,
  isThrownByAll,
  single,
  sumInBuckets,
  textOfFirst,
  thrownByAll,
  together,
} from "./parallel.ts";

describe("buckets", () => {
  it("hold small arrays together, in order, and long ones alone in pieces", () => {
    expect(buckets([3, 4, 0, 2, 25, 1, 5, 9], 10)).toEqual([
      [
        { array: 0, from: 0, length: 3 },
        { array: 1, from: 0, length: 4 },
        { array: 3, from: 0, length: 2 },
      ],
      [{ array: 4, from: 0, length: 10 }],
      [{ array: 4, from: 10, length: 10 }],
      [{ array: 4, from: 20, length: 5 }],
      [{ array: 5, from: 0, length: 1 }],
      [{ array: 6, from: 0, length: 5 }],
      [{ array: 7, from: 0, length: 9 }],
    ]);
  });

  it("are 4 MiB: the 64 MB of 16 million weights go in 16 messages, in one array or in a thousand", () => {
    expect(BUCKET * Float32Array.BYTES_PER_ELEMENT).toBe(4 * 2 ** 20);
    const messages = (lengths: number[]): number[] =>
      buckets(lengths).map((spans) => spans.reduce((sum, { length }) => sum + length, 0));
    expect(messages([16_000_000])).toEqual([...new Array(15).fill(1_048_576), 271_360]);
    expect(messages(new Array(1000).fill(16_000))).toEqual([...new Array(15).fill(65 * 16_000), 25 * 16_000]);
  });

  it("cover every element once", () => {
    const lengths = Array.from({ length: 200 }, (_, i) => (i * 7919) % 61);
    const seen = lengths.map((length) => new Array<number>(length).fill(0));
    for (const spans of buckets(lengths, 40)) {
      expect(spans.reduce((total, { length }) => total + length, 0)).toBeLessThanOrEqual(40);
      for (const { array, from, length } of spans)
        for (let i = from; i < from + length; i++) (seen[array] as number[])[i] = (seen[array]?.[i] ?? 0) + 1;
    }
    expect(seen.flat().every((times) => times === 1)).toBe(true);
  });

  it("of no arrays are none", () => {
    expect(buckets([])).toEqual([]);
    expect(buckets([0, 0])).toEqual([]);
  });
});

describe("a sum in buckets", () => {
  /** What the second of two processes would add, by the element's value. */
  const addTheOther = async (bucket: Float32Array): Promise<void> => {
    for (const [i, x] of bucket.entries()) bucket[i] = x + 1000 * x;
  };

  it("gives each array its own elements back, long or short", async () => {
    const lengths = [3, 0, 7, 41, 1, 20, 6, 6];
    const arrays = lengths.map((length, j) => Float32Array.from({ length }, (_, i) => 100 * j + i));
    const sizes: number[] = [];
    await sumInBuckets(
      arrays,
      (bucket) => {
        sizes.push(bucket.length);
        return addTheOther(bucket);
      },
      16,
    );
    expect(sizes).toEqual([10, 16, 16, 9, 1, 16, 4, 12]);
    for (const [j, array] of arrays.entries())
      expect([...array]).toEqual(Array.from(array, (_, i) => 1001 * (100 * j + i)));
  });

  it("copies no long array", async () => {
    const whole = new Float32Array(100).fill(1);
    const view = whole.subarray(10, 60);
    await sumInBuckets(
      [view],
      async (bucket) => {
        expect(bucket.buffer).toBe(whole.buffer);
        bucket.fill(2);
      },
      20,
    );
    expect([...whole]).toEqual(Array.from(whole, (_, i) => (i >= 10 && i < 60 ? 2 : 1)));
  });

  it("stops at the first that fails", async () => {
    const arrays = [new Float32Array(20), new Float32Array(20)];
    let calls = 0;
    const failing = async (): Promise<void> => {
      calls++;
      throw new Error("lost");
    };
    await expect(sumInBuckets(arrays, failing, 20)).rejects.toThrow("lost");
    expect(calls).toBe(1);
  });
});

describe("a process that is alone", () => {
  it("is the first of one, and its sums and broadcasts are what it has", async () => {
    const array = Float32Array.of(1, 2, 3);
    await single.allReduceSum([array]);
    await single.broadcast([array], 0);
    await single.barrier();
    await single.finish();
    expect([single.rank, single.size, ...array]).toEqual([0, 1, 1, 2, 3]);
  });

  it("ends by throwing the failure as it is", () => {
    const failure = new Error("no more");
    expect(() => single.abort(failure)).toThrow(failure);
  });
});

const onEach = <T>(size: number, work: (job: Communicator) => Promise<T>): Promise<T[]> =>
  Promise.all(fakeJob(size).map(work));
const failuresOf = (size: number, work: (job: Communicator) => Promise<unknown>): Promise<unknown[]> =>
  onEach(size, (job) =>
    work(job).then(
      (value) => ({ value }),
      (error: unknown) => error,
    ),
  );
const full = new KoalaError("E_DISK", {
  where: "run",
  expected: "room",
  got: "a full disk",
  hint: "Free some.",
});

describe("what processes do together", () => {
  it("gives each its own result where all succeed", async () => {
    expect(await onEach(3, (job) => together(job, async () => 10 * job.rank))).toEqual([0, 10, 20]);
    expect(await together(single, async () => 7)).toBe(7);
  });

  it("fails on all with the error and the rank of the first that failed", async () => {
    const errors = await failuresOf(3, (job) =>
      together(job, async () => {
        if (job.rank > 0) throw job.rank === 1 ? full : new Error("later");
      }),
    );
    for (const error of errors) {
      expect(error).toBeInstanceOf(KoalaError);
      expect((error as KoalaError).message).toBe(
        "rank 1 of 3, run: expected room, got a full disk [E_DISK]\nFree some.",
      );
      expect(isThrownByAll(error)).toBe(true);
      expect(isThrownByAll(new Error("around", { cause: error }))).toBe(true);
    }
  });

  it("fails as a process alone would where the first one does", async () => {
    const errors = await failuresOf(2, (job) => byFirst(job, () => Promise.reject(full)));
    expect(errors[0]).toBe(full);
    expect((errors[1] as KoalaError).message).toBe(full.message);
  });

  it("keeps the names of errors that are not ours, so that a stop is a stop everywhere", async () => {
    const thrown = (error: Error) => (job: Communicator) =>
      together(job, () => (job.rank === 1 ? Promise.reject(error) : Promise.resolve()));
    const stops = await failuresOf(2, thrown(new DOMException("stopped", "AbortError")));
    expect(stops.map(String)).toEqual(["AbortError: stopped", "AbortError: stopped"]);
    const faults = await failuresOf(2, thrown(new TypeError("x is null")));
    expect(faults.map(String)).toEqual(new Array(2).fill("TypeError: rank 1 of 2: x is null"));
  });

  it("can be done again after a failure", async () => {
    const again = async (job: Communicator): Promise<number> => {
      await together(job, () => Promise.reject(full)).catch(() => {});
      return together(job, async () => job.rank);
    };
    expect(await onEach(2, again)).toEqual([0, 1]);
  });

  it("can have an order: the first process, then the others, and they only once it has succeeded", async () => {
    const order: string[] = [];
    const first = async (): Promise<string> => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      order.push("first");
      return "made";
    };
    const others = async (): Promise<string> => {
      order.push("other");
      return "found";
    };
    expect(await onEach(3, (job) => firstThenOthers(job, first, others))).toEqual(["made", "found", "found"]);
    expect(order).toEqual(["first", "other", "other"]);
    await failuresOf(2, (job) => firstThenOthers(job, () => Promise.reject(full), others));
    expect(order).toHaveLength(3);
    expect(await firstThenOthers(single, first, others)).toBe("made");
  });

  it("is heard by all: a text of the first, and what is so on any", async () => {
    const said = await onEach(2, (job) =>
      textOfFirst(job, job.rank === 0 ? "käse\n" : "longer than the first's"),
    );
    expect(said).toEqual(["käse\n", "käse\n"]);
    expect(await onEach(3, (job) => isOnAny(job, job.rank === 2))).toEqual([true, true, true]);
    expect(await onEach(3, (job) => isOnAny(job, false))).toEqual([false, false, false]);
  });

  it("is not known of an error that nobody marked", () => {
    expect(isThrownByAll(new Error("mine"))).toBe(false);
    expect(isThrownByAll("text")).toBe(false);
    expect(isThrownByAll(thrownByAll(new Error("ours")))).toBe(true);
  });
});
